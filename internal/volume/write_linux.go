package volume

import (
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// contentBuffer is how much of a file is read before it is written: a multiple of
// what can be a hole, and not more than a processor's cache holds, as holes are zeros
// on their way.
const contentBuffer = 128 << 10

// file makes a file of the content that comes next in the archive.
func (x *extractor) file(e *entry, in int, name string) error {
	fd, err := openAt(in, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return already(err)
	}
	err = x.content(fd, e.size)
	if err == nil {
		err = x.apply(e, node{fd: fd})
	}
	if closed := unix.Close(fd); err == nil && closed != nil && !errors.Is(closed, unix.EINTR) {
		err = closed
	}
	if err != nil {
		return err
	}
	return setTime(in, name, e.mtime)
}

// content writes what comes next in the archive. What is zero is not written.
func (x *extractor) content(fd int, size int64) error {
	end := int64(0) // of what was written, or of the file as it is
	if size > int64(len(x.buf)) {
		if err := unix.Ftruncate(fd, size); err != nil {
			return fmt.Errorf("make a file of %d bytes: %w", size, err)
		}
		end = size
	}
	for at := int64(0); at < size; {
		if err := context.Cause(x.ctx); err != nil {
			return err
		}
		part := x.buf[:min(size-at, int64(len(x.buf)))]
		if _, err := io.ReadFull(x.stream.tar, part); err != nil {
			return x.stream.wrong(err, "in its content")
		}
		written, err := writeData(fd, part, at)
		if err != nil {
			return err
		}
		end = max(end, written)
		at += int64(len(part))
	}
	if end < size {
		return unix.Ftruncate(fd, size)
	}
	return nil
}

// writeData writes b at a place in a file, but for what would be holes: whole pages
// of zeros. It returns the end of what it wrote.
func writeData(fd int, b []byte, at int64) (end int64, err error) {
	for len(b) > 0 {
		n := 0
		for n < len(b) && isZero(page(b[n:])) {
			n += len(page(b[n:]))
		}
		b, at = b[n:], at+int64(n)
		n = 0
		for n < len(b) && !isZero(page(b[n:])) {
			n += len(page(b[n:]))
		}
		if err := writeAll(fd, b[:n], at); err != nil {
			return 0, err
		}
		b, at = b[n:], at+int64(n)
		if n > 0 {
			end = at
		}
	}
	return end, nil
}

func page(b []byte) []byte { return b[:min(len(b), len(zeros))] }

func writeAll(fd int, b []byte, at int64) error {
	for len(b) > 0 {
		n, err := again(func() (int, error) { return unix.Pwrite(fd, b, at) })
		if err != nil {
			return err
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

package volume

import (
	"archive/tar"
	"context"
	"errors"

	"golang.org/x/sys/unix"
)

// file writes a file of the folder at work. Its header says how long it is, and that
// much is written, whatever happens to it meanwhile.
func (a *archiver) file(name string) error {
	// A FIFO that took its place would keep a plain open until somebody writes to it.
	fd, err := openAt(a.folders.top().fd, name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		a.unopened(name, err)
		return nil
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		a.report.Unreadable.add(a.name(name), err.Error())
		return nil
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		a.unopened(name, unix.ELOOP)
		return nil
	}
	h := describe(a.name(name), tar.TypeReg, &st)
	if done, err := a.link(&h, &st); done || err != nil {
		return err
	}
	h.size = st.Size
	if st.Blocks*blockSize < st.Size {
		h.data = regionsOf(fd, st.Size)
	}
	if err := a.writeWith(&h, node{fd: fd}); err != nil {
		return err
	}
	a.remember(&h, &st)
	if err := a.content(fd, &h); err != nil {
		return err
	}
	a.compare(fd, &h, &st)
	return nil
}

// regionsOf asks where a file has content. It returns nil if that is everywhere, or
// the file system does not know.
func regionsOf(fd int, size int64) []region {
	var found regions
	for at := int64(0); at < size; {
		start, err := unix.Seek(fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) || err == nil && start >= size {
			break // nothing but a hole
		}
		if err != nil {
			return nil
		}
		end, err := unix.Seek(fd, start, unix.SEEK_HOLE)
		if err != nil || end <= start {
			return nil // it shrinks; what is missing will be zeros
		}
		at = min(end, size)
		found.add(region{start, at - start})
	}
	return found.of(size)
}

// content writes a file's content, and fills it up to a block.
func (a *archiver) content(fd int, h *header) error {
	list := h.data
	if list == nil {
		list = []region{{0, h.size}}
	}
	for _, r := range list {
		missing, err := a.copy(fd, h.name, r)
		if err == nil && missing > 0 {
			err = a.zeros(missing)
		}
		if err != nil {
			return err
		}
	}
	return a.zeros(padding(dataSize(list)))
}

// copy writes a region of a file, and returns how much is missing at its end, as it
// cannot be read or is no more.
func (a *archiver) copy(fd int, name string, r region) (missing int64, err error) {
	for r.length > 0 {
		if err := context.Cause(a.ctx); err != nil {
			return 0, err
		}
		if a.out.Available() < blockSize {
			if err := a.flush(); err != nil {
				return 0, err
			}
		}
		room := a.out.AvailableBuffer()
		room = room[:min(int64(cap(room)), r.length)]
		n, err := again(func() (int, error) { return unix.Pread(fd, room, r.offset) })
		if err != nil {
			a.report.Unreadable.add(name, err.Error())
			return r.length, nil
		}
		if n == 0 {
			return r.length, nil
		}
		if _, err := a.out.Write(room[:n]); err != nil {
			return 0, outError(err)
		}
		r.offset, r.length = r.offset+int64(n), r.length-int64(n)
	}
	return 0, nil
}

func (a *archiver) zeros(n int64) error {
	for n > 0 {
		if err := context.Cause(a.ctx); err != nil {
			return err
		}
		part := zeros[:min(n, int64(len(zeros)))]
		if _, err := a.out.Write(part); err != nil {
			return outError(err)
		}
		n -= int64(len(part))
	}
	return nil
}

// compare reports a file that is not as it was before it was read.
func (a *archiver) compare(fd int, h *header, before *unix.Stat_t) {
	var now unix.Stat_t
	switch err := unix.Fstat(fd, &now); {
	case err != nil:
		a.report.Unreadable.add(h.name, err.Error())
	case now.Size < before.Size:
		a.report.Changed.add(h.name, "it shrank while it was read: its end is zeros")
	case now.Size > before.Size:
		a.report.Changed.add(h.name, "it grew while it was read: its end is left out")
	case now.Mtim != before.Mtim:
		a.report.Changed.add(h.name, "it was written to while it was read")
	}
}

package volume

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// writeBuffer is how much of an archive is written at once. Content is read right
// into it.
const writeBuffer = 256 << 10

// Archive writes everything below root to w, see the package's documentation for how.
// What it cannot read does not end it; it is in the report. An error is that of
// opening root, of w, the cause of ctx, or says that a folder was moved meanwhile:
// then the archive is not whole.
//
// It stays on what is mounted at root. Of files with several names it remembers one
// until it has seen all.
func Archive(ctx context.Context, root string, w io.Writer) (Report, error) {
	fd, st, err := openRoot(root)
	if err != nil {
		return Report{}, err
	}
	a := archiver{
		ctx:    ctx,
		out:    bufio.NewWriterSize(w, writeBuffer),
		prefix: []byte("./"),
		dev:    st.Dev,
		linked: map[fileID]*linked{},
		lister: make([]byte, listBuffer),
		names:  make([]byte, maxAttribute),
		value:  make([]byte, maxAttribute),
	}
	defer a.folders.close()
	err = a.run(fd, &st)
	return a.report, err
}

type archiver struct {
	ctx     context.Context //nolint:containedctx // of the call of Archive
	out     *bufio.Writer
	report  Report
	folders folders[pending]
	prefix  []byte // what all names in the folder at work begin with
	dev     uint64
	linked  map[fileID]*linked
	// What is read into and encoded in, again and again.
	lister, names, value, head []byte
}

// linked is a file with more names than were seen.
type linked struct {
	name string
	left uint64
}

func (a *archiver) run(fd int, st *unix.Stat_t) error {
	if err := a.folder(folder[pending]{fd: fd, id: idOf(st)}, st); err != nil {
		return err
	}
	for len(a.folders.list) > 0 {
		if name, ok := a.folders.top().of.next(); ok {
			if err := a.descend(name); err != nil {
				return err
			}
			continue
		}
		name := a.folders.top().name
		if err := a.folders.pop(); err != nil {
			return fmt.Errorf("%s: %w", printable(string(a.prefix)), err)
		}
		if name != "" {
			a.prefix = a.prefix[:len(a.prefix)-len(name)-1]
		}
	}
	if err := a.zeros(2 * blockSize); err != nil {
		return err
	}
	return a.flush()
}

// descend goes into a folder of the folder at work.
func (a *archiver) descend(name string) error {
	fd, st, err := openFolder(a.folders.top().fd, name)
	if err != nil {
		a.unopened(name, err)
		return nil
	}
	if isMounted(fd, &st, a.dev) {
		defer func() { _ = unix.Close(fd) }()
		a.report.Mounts.add(a.name(name), "something is mounted there")
		return a.write(&header{name: a.name(name) + "/", kind: tar.TypeDir, mode: 0o755, mtime: mtime(&st)})
	}
	a.prefix = append(append(a.prefix, name...), '/')
	return a.folder(folder[pending]{name: name, fd: fd, id: idOf(&st)}, &st)
}

// folder makes a folder the one at work, and writes its own entry and those of all
// in it that are no folders.
func (a *archiver) folder(f folder[pending], st *unix.Stat_t) error {
	a.folders.push(f)
	at := a.folders.top()
	h := describe(string(a.prefix), tar.TypeDir, st)
	if err := a.writeWith(&h, node{fd: at.fd}); err != nil {
		return err
	}
	stop := false
	err := list(at.fd, a.lister, func(name string, kind byte) error {
		err := a.child(name, kind)
		stop = err != nil
		return err
	})
	if err != nil && !stop {
		a.report.Unreadable.add(string(a.prefix), err.Error())
		return nil
	}
	var after unix.Stat_t
	if err == nil && unix.Fstat(at.fd, &after) == nil && after.Mtim != st.Mtim {
		a.report.Changed.add(string(a.prefix), "something in it was made or removed while it was listed")
	}
	return err
}

// child takes what is in the folder at work. Folders have to wait until all else in
// it is written.
func (a *archiver) child(name string, kind byte) error {
	if err := context.Cause(a.ctx); err != nil {
		return err
	}
	switch kind {
	case unix.DT_DIR:
		a.folders.top().of.add(name)
		return nil
	case unix.DT_REG:
		return a.file(name)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(a.folders.top().fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		a.unopened(name, err)
		return nil
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		a.folders.top().of.add(name)
	case unix.S_IFREG:
		return a.file(name)
	case unix.S_IFSOCK:
		a.report.Sockets++
	case unix.S_IFLNK:
		return a.special(name, tar.TypeSymlink, &st)
	case unix.S_IFIFO:
		return a.special(name, tar.TypeFifo, &st)
	case unix.S_IFCHR:
		return a.special(name, tar.TypeChar, &st)
	case unix.S_IFBLK:
		return a.special(name, tar.TypeBlock, &st)
	default:
		a.report.Unreadable.add(a.name(name), "it is of a type that is not known")
	}
	return nil
}

// special writes an entry that has no content.
func (a *archiver) special(name string, kind byte, st *unix.Stat_t) error {
	h := describe(a.name(name), kind, st)
	if done, err := a.link(&h, st); done || err != nil {
		return err
	}
	in := a.folders.top().fd
	if kind == tar.TypeSymlink {
		n, err := unix.Readlinkat(in, name, a.value)
		if err != nil {
			a.unopened(name, err)
			return nil
		}
		h.link = string(a.value[:n])
	}
	if err := a.writeWith(&h, node{fd: in, name: name}); err != nil {
		return err
	}
	a.remember(&h, st)
	return nil
}

// link writes a file as a hard link if it was written under another name.
func (a *archiver) link(h *header, st *unix.Stat_t) (done bool, err error) {
	first := a.linked[idOf(st)]
	if st.Nlink < 2 || first == nil {
		return false, nil
	}
	if first.left--; first.left == 0 {
		delete(a.linked, idOf(st))
	}
	l := *h
	l.kind, l.size, l.link = tar.TypeLink, 0, first.name
	return true, a.write(&l)
}

func (a *archiver) remember(h *header, st *unix.Stat_t) {
	if st.Nlink > 1 {
		a.linked[idOf(st)] = &linked{name: h.name, left: uint64(st.Nlink) - 1} //nolint:unconvert // 32 bits on arm64
	}
}

// writeWith writes an entry's header with the extended attributes of the file. What
// it cannot read of them is in the report.
func (a *archiver) writeWith(h *header, of node) error {
	var err error
	if h.attributes, err = of.attributes(a.names, a.value); err != nil {
		a.report.Unreadable.add(h.name, err.Error())
	}
	err = a.write(h)
	if !errors.Is(err, errTooManyAttributes) {
		return err
	}
	a.report.Unreadable.add(h.name, err.Error())
	h.attributes = nil
	return a.write(h)
}

// write writes a header.
func (a *archiver) write(h *header) error {
	head, err := h.appendTo(a.head[:0])
	if err != nil {
		return err
	}
	a.head = head
	a.report.Entries++
	if h.kind == tar.TypeReg {
		a.report.Bytes += h.size
	}
	_, err = a.out.Write(head)
	return outError(err)
}

func (a *archiver) flush() error { return outError(a.out.Flush()) }

func outError(err error) error {
	if err != nil {
		return fmt.Errorf("write the volume's archive: %w", err)
	}
	return nil
}

// name is how something in the folder at work is called in the archive.
func (a *archiver) name(name string) string { return string(a.prefix) + name }

// unopened reports what was there when its folder was listed, and cannot be opened.
func (a *archiver) unopened(name string, err error) {
	switch {
	case errors.Is(err, unix.ENOENT):
		a.report.Changed.add(a.name(name), "it was removed before it was read")
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ENXIO):
		a.report.Changed.add(a.name(name), "something else took its place before it was read")
	default:
		a.report.Unreadable.add(a.name(name), err.Error())
	}
}

// describe is an entry's header without what only its kind has.
func describe(name string, kind byte, st *unix.Stat_t) header {
	h := header{name: name, kind: kind, mode: st.Mode & 0o7777, uid: st.Uid, gid: st.Gid, mtime: mtime(st)}
	if kind == tar.TypeChar || kind == tar.TypeBlock {
		h.major, h.minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	return h
}

func mtime(st *unix.Stat_t) timestamp { return timestamp{st.Mtim.Sec, st.Mtim.Nsec} }

package volume

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"
)

// Extract writes the tree of the archive r into the folder root, and reads r to its
// end. Root gets the attributes of the archive's root; what is there already stays,
// and it is an error if the archive has a file of the same name. Nothing outside root
// is touched, whatever the archive says: each folder is opened from the one above by
// its name alone, and no symbolic link is followed.
//
// When it returns without an error everything is on disk. With an error, which names
// the entry, what was written until then is left: see [Clear]. Errors wrap
// [ErrCorrupt] or [ErrFull], or are those of r, of the file system or the cause of
// ctx, which does not end a read of r. What could not be kept of an entry for lack of
// permission, or as the file system does not have it, is no error, but in the report.
func Extract(ctx context.Context, r io.Reader, root string) (Report, error) {
	fd, st, err := openRoot(root)
	if err != nil {
		return Report{}, err
	}
	x := extractor{ctx: ctx, stream: newStream(r), buf: make([]byte, contentBuffer)}
	defer x.folders.close()
	err = x.run(fd, &st)
	return x.report, err
}

type extractor struct {
	ctx     context.Context //nolint:containedctx // of the call of Extract
	stream  *stream
	report  Report
	folders folders[attended]
	buf     []byte
}

// attended is what is done to a folder when it is left, as everything that is
// written in it changes its time.
type attended struct {
	entry *entry // nil if the archive has none
	// Of a folder that was there: its time, and its default ACL, which would be
	// inherited by what is written in it.
	existed bool
	mtime   timestamp
	acl     string
}

func (x *extractor) run(fd int, st *unix.Stat_t) error {
	of, err := attend(fd, st)
	x.folders.push(folder[attended]{fd: fd, id: idOf(st), of: of})
	if err != nil {
		return err
	}
	for {
		if err := context.Cause(x.ctx); err != nil {
			return err
		}
		e, err := x.stream.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if err := x.unpack(e); err != nil {
			return fmt.Errorf("unpack %s: %w", x.stream.place(tarName(e.path)), full(err))
		}
		x.report.Entries++
		if e.kind == tar.TypeReg {
			x.report.Bytes += e.size
		}
	}
	return x.finish()
}

// finish leaves all folders, and waits until everything is on disk.
func (x *extractor) finish() error {
	if err := x.goTo(nil); err != nil {
		return full(err)
	}
	root := x.folders.top()
	if err := x.attributesOf(root); err != nil {
		return fmt.Errorf("set the attributes of the root: %w", full(err))
	}
	if err := unix.Syncfs(root.fd); err != nil {
		return fmt.Errorf("write to disk: %w", full(err))
	}
	return nil
}

// full makes an error of a full disk one of ours.
func full(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return err
}

func (x *extractor) unpack(e *entry) error {
	if e.kind == tar.TypeDir {
		if err := x.goTo(e.path); err != nil {
			return err
		}
		x.folders.top().of.entry = e
		return nil
	}
	last := len(e.path) - 1
	if err := x.goTo(e.path[:last]); err != nil {
		return err
	}
	return x.create(e, e.path[last])
}

// goTo makes the folder of that path the one at work. Folders that are missing are made.
func (x *extractor) goTo(path []string) error {
	common := x.common(path)
	for len(x.folders.list)-1 > common {
		if err := x.leave(); err != nil {
			return err
		}
	}
	for _, name := range path[common:] {
		if err := x.enter(name); err != nil {
			return err
		}
	}
	return nil
}

// common is how many names at the beginning of a path lead to the folder at work.
func (x *extractor) common(path []string) int {
	for i, f := range x.folders.list[1:] {
		if i == len(path) || f.name != path[i] {
			return i
		}
	}
	return len(x.folders.list) - 1
}

func (x *extractor) enter(name string) error {
	in := x.folders.top().fd
	made := unix.Mkdirat(in, name, 0o700)
	if made != nil && !errors.Is(made, unix.EEXIST) {
		return fmt.Errorf("make the folder %s: %w", printable(name), made)
	}
	fd, st, err := openFolder(in, name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return fmt.Errorf("%s is there already, and not a folder", printable(name))
	}
	if err != nil {
		return fmt.Errorf("open the folder %s: %w", printable(name), err)
	}
	var of attended
	if made != nil {
		of, err = attend(fd, &st)
	}
	x.folders.push(folder[attended]{name: name, fd: fd, id: idOf(&st), of: of})
	return err
}

// attend notes how a folder is that was there, and lets nothing inherit its ACL.
func attend(fd int, st *unix.Stat_t) (attended, error) {
	a := attended{existed: true, mtime: mtime(st)}
	n := node{fd: fd}
	buf := make([]byte, maxAttribute)
	size, err := n.get(attributeDefaultACL, buf)
	if err != nil {
		return a, nil // it has none
	}
	a.acl = string(buf[:size])
	return a, n.remove(attributeDefaultACL)
}

// leave finishes the folder at work, and goes back to the one above.
func (x *extractor) leave() error {
	if err := x.attributesOf(x.folders.top()); err != nil {
		return fmt.Errorf("set the attributes of %s: %w", printable(tarName(x.folders.path())), err)
	}
	return x.folders.pop()
}

func (x *extractor) attributesOf(f *folder[attended]) error {
	n, t := node{fd: f.fd}, f.of.mtime
	switch e := f.of.entry; {
	case e != nil:
		if f.of.existed {
			if err := n.remove(attributeACL); err != nil {
				return err
			}
		}
		if err := x.apply(e, n); err != nil {
			return err
		}
		t = e.mtime
	case !f.of.existed:
		return nil
	case f.of.acl != "":
		if err := n.set(attribute{attributeDefaultACL, f.of.acl}); err != nil {
			return err
		}
	}
	return setTime(f.fd, ".", t)
}

// create makes everything but a folder in the folder at work.
func (x *extractor) create(e *entry, name string) error {
	in := x.folders.top().fd
	var err error
	switch e.kind {
	case tar.TypeReg:
		return x.file(e, in, name)
	case tar.TypeLink:
		return x.link(e, in, name)
	case tar.TypeSymlink:
		err = unix.Symlinkat(e.target, in, name)
	case tar.TypeFifo:
		err = unix.Mknodat(in, name, unix.S_IFIFO|0o600, 0)
	case tar.TypeChar:
		err = unix.Mknodat(in, name, unix.S_IFCHR|0o600, int(unix.Mkdev(e.major, e.minor)))
	case tar.TypeBlock:
		err = unix.Mknodat(in, name, unix.S_IFBLK|0o600, int(unix.Mkdev(e.major, e.minor)))
	}
	if errors.Is(err, unix.EPERM) {
		x.report.Lost.add(tarName(e.path), "it is left out: "+err.Error())
		return nil
	}
	if err != nil {
		return already(err)
	}
	if err := x.apply(e, node{fd: in, name: name}); err != nil {
		return err
	}
	return setTime(in, name, e.mtime)
}

// already explains that something is in the way.
func already(err error) error {
	if errors.Is(err, unix.EEXIST) {
		return errors.New("it is there already: the archive has it twice, or it was in the folder before")
	}
	return err
}

// link makes a hard link. What it leads to is looked for as everything else: no
// symbolic link is followed, and what is outside the root is not reached.
func (x *extractor) link(e *entry, in int, name string) error {
	last := len(e.link) - 1
	to, done, err := x.find(e.link[:last])
	if err == nil {
		err = unix.Linkat(to, e.link[last], in, name, 0)
		done()
	}
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return corrupt("it is a hard link to %s, which is not there", printable(tarName(e.link)))
	}
	return already(err)
}

// find opens a folder that is there, and leaves the one at work as it is. done is
// called when it is no longer needed.
func (x *extractor) find(path []string) (fd int, done func(), err error) {
	at := x.common(path)
	for x.folders.list[at].fd < 0 {
		at--
	}
	fd, done = x.folders.list[at].fd, func() {}
	for _, name := range path[at:] {
		below, err := openAt(fd, name, unix.O_PATH|unix.O_DIRECTORY)
		done()
		if err != nil {
			return -1, nil, err
		}
		fd, done = below, func() { _ = unix.Close(below) }
	}
	return fd, done, nil
}

// apply gives a file its owner, its mode and its extended attributes, in this order:
// each may take away what comes later.
func (x *extractor) apply(e *entry, n node) error {
	mode := e.mode
	if err := n.chown(e.uid, e.gid); err != nil {
		if !isRefused(err) {
			return fmt.Errorf("set its owner: %w", err)
		}
		x.report.Lost.add(tarName(e.path), fmt.Sprintf("the owner %d:%d: %v", e.uid, e.gid, err))
		mode &^= unix.S_ISUID | unix.S_ISGID // they would be rights of another owner
	}
	if e.kind != tar.TypeSymlink {
		if err := n.chmod(mode); err != nil {
			return fmt.Errorf("set its mode: %w", err)
		}
	}
	for _, a := range e.attributes {
		err := n.set(a)
		if err != nil && !isRefused(err) {
			return fmt.Errorf("set its extended attribute %s: %w", printable(a.name), err)
		}
		if err != nil {
			x.report.Lost.add(tarName(e.path), fmt.Sprintf("the extended attribute %s: %v", printable(a.name), err))
		}
	}
	return nil
}

// setTime sets a file's time of modification, and leaves that of access.
func setTime(in int, name string, t timestamp) error {
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, {Sec: t.sec, Nsec: t.nsec}}
	if err := unix.UtimesNanoAt(in, name, times, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set its time: %w", err)
	}
	return nil
}

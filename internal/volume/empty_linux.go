package volume

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// lostAndFound is in the root of a file system of its own, and no content.
const lostAndFound = "lost+found"

// IsEmpty reports whether nothing is in the folder root, but for an empty lost+found.
func IsEmpty(root string) (bool, error) {
	fd, _, err := openRoot(root)
	if err != nil {
		return false, err
	}
	defer func() { _ = unix.Close(fd) }()
	kept := false
	err = list(fd, make([]byte, listBuffer), func(name string, _ byte) error {
		if name != lostAndFound {
			return errFound
		}
		kept = true
		return nil
	})
	if err == nil && kept {
		err = isEmptyFolder(fd, lostAndFound)
	}
	if errors.Is(err, errFound) {
		return false, nil
	}
	return err == nil, err
}

var errFound = errors.New("something is there")

// isEmptyFolder returns errFound if there is anything in a folder, or it is none.
func isEmptyFolder(in int, name string) error {
	fd, _, err := openFolder(in, name)
	if errors.Is(err, unix.ENOTDIR) {
		return errFound
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	return list(fd, make([]byte, listBuffer), func(string, byte) error { return errFound })
}

// Clear removes everything in the folder root, and leaves itself and an empty
// lost+found. Nothing outside is touched: no link is followed, and it is an error if
// something is mounted below the root. It can be repeated.
func Clear(ctx context.Context, root string) error {
	fd, st, err := openRoot(root)
	if err != nil {
		return err
	}
	c := clearer{buf: make([]byte, listBuffer), dev: st.Dev}
	defer c.folders.close()
	c.folders.push(folder[pending]{fd: fd, id: idOf(&st)})
	if err := c.run(ctx); err != nil {
		return fmt.Errorf("clear %s: %w", printable(tarName(c.folders.path())), err)
	}
	return nil
}

type clearer struct {
	folders folders[pending]
	buf     []byte
	dev     uint64
}

func (c *clearer) run(ctx context.Context) error {
	if err := c.files(); err != nil {
		return err
	}
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		at := c.folders.top()
		if name, ok := at.of.next(); ok {
			if err := c.enter(at.fd, name); err != nil {
				return err
			}
			continue
		}
		if len(c.folders.list) == 1 {
			return nil
		}
		if err := c.leave(); err != nil {
			return err
		}
	}
}

// files removes what is in the folder at work and is no folder.
func (c *clearer) files() error {
	at := c.folders.top()
	return list(at.fd, c.buf, func(name string, kind byte) error {
		if kind == unix.DT_DIR {
			at.of.add(name)
			return nil
		}
		err := unix.Unlinkat(at.fd, name, 0)
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
			return nil
		case errors.Is(err, unix.EISDIR): // the file system does not tell types
			at.of.add(name)
			return nil
		}
		return fmt.Errorf("remove %s: %w", printable(name), err)
	})
}

func (c *clearer) enter(in int, name string) error {
	fd, st, err := openFolder(in, name)
	if err != nil {
		return fmt.Errorf("open %s: %w", printable(name), err)
	}
	if isMounted(fd, &st, c.dev) {
		_ = unix.Close(fd)
		return fmt.Errorf("something is mounted on %s; unmount it first", printable(name))
	}
	c.folders.push(folder[pending]{name: name, fd: fd, id: idOf(&st)})
	return c.files()
}

// leave removes the folder at work, which has become empty.
func (c *clearer) leave() error {
	name := c.folders.top().name
	if err := c.folders.pop(); err != nil {
		return err
	}
	if len(c.folders.list) == 1 && name == lostAndFound {
		return nil
	}
	if err := unix.Unlinkat(c.folders.top().fd, name, unix.AT_REMOVEDIR); err != nil {
		return fmt.Errorf("remove the folder %s: %w", printable(name), err)
	}
	return nil
}

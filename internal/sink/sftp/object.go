package sftp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/google/uuid"
	pkgsftp "github.com/pkg/sftp"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// How a file takes its name.
type manner int

const (
	replaces manner = iota // an object that is there
	onlyNew                // if there is no object
	blindly                // the same, and whether there is one is left to the server
)

// Put implements [object.Store].
func (s *Store) Put(ctx context.Context, key string, content []byte) error {
	return s.put(ctx, key, content, replaces)
}

// PutNew implements [object.Store].
func (s *Store) PutNew(ctx context.Context, key string, content []byte) error {
	return s.put(ctx, key, content, onlyNew)
}

// attempts bounds how often something is done again because folders vanish meanwhile.
const attempts = 10

// put stores a small object. It writes to one hidden file however often it tries, so that a
// request that comes late does no harm.
func (s *Store) put(ctx context.Context, key string, content []byte, how manner) error {
	content = bytes.Clone(content) // a call that is left behind still reads it
	hidden := hide(key)
	err := s.try(ctx, key, func(l *link) error {
		for range attempts {
			err := s.write(ctx, l, key, hidden, content, how)
			if !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return errVanished
	})
	if err != nil {
		s.discard(ctx, hidden)
	}
	return err
}

// hide returns a name of its own for a file that is to be the object at key.
func hide(key string) (hidden string) {
	return path.Join(path.Dir(key), hiddenPrefix+uuid.NewString()+hiddenSuffix)
}

// discardTime bounds the removal of a hidden file after an error that counts more.
const discardTime = 10 * time.Second

// discard removes a hidden file as far as that can be done. Sweep finds what is left.
func (s *Store) discard(ctx context.Context, hidden string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardTime)
	defer cancel()
	_ = s.try(ctx, hidden, func(l *link) error {
		if err := l.remove(ctx, s.path(hidden)); err != nil {
			return err
		}
		return s.tidy(ctx, l, hidden)
	})
}

func (s *Store) write(ctx context.Context, l *link, key, hidden string, content []byte, how manner) error {
	f, there, err := s.create(ctx, l, key, hidden)
	if err != nil {
		return err
	}
	if there != nil && how == onlyNew {
		err = s.exists(key)
	} else if err = l.write(ctx, f, content, 0); err == nil {
		return s.install(ctx, l, f, installation{key, hidden, int64(len(content)), how})
	}
	_ = do(ctx, l, f.Close)
	return err
}

func (s *Store) exists(key string) error { return fmt.Errorf("%s: %w", s.Place(key), sink.ErrExists) }

// create opens the hidden file beside key for writing, and makes it and its folders if they
// are not there. It returns what is known of the object at key too. The file is never
// truncated: a request that comes late would do that to what was written since.
func (s *Store) create(ctx context.Context, l *link, key, hidden string) (f *pkgsftp.File, there fs.FileInfo, err error) {
	for range attempts {
		trail, err := s.trail(ctx, l, key)
		if err != nil {
			return nil, nil, err
		}
		if err := s.makeFolders(ctx, l, key, trail); err != nil {
			return nil, nil, err
		}
		f, err := l.open(ctx, s.path(hidden), os.O_WRONLY|os.O_CREATE)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err == nil {
			err = tolerate(do(ctx, l, func() error { return f.Chmod(fileMode) }))
		}
		return f, objectIn(trail, key), err
	}
	return nil, nil, errVanished
}

// unsupported is the code of what a server cannot do.
const unsupported = 8

// tolerate ignores that a server has no modes.
func tolerate(err error) error {
	var status *pkgsftp.StatusError
	if errors.As(err, &status) && status.Code == unsupported {
		return nil
	}
	return err
}

// installation is how a hidden file becomes an object.
type installation struct {
	key, hidden string
	size        int64
	how         manner
}

// install makes a file that is written the object. It closes f.
func (s *Store) install(ctx context.Context, l *link, f *pkgsftp.File, i installation) error {
	if err := s.complete(ctx, l, f, i); err != nil {
		return err
	}
	err := s.rename(ctx, l, i)
	if !l.has(extFsync) {
		return err
	}
	if err == nil {
		err = l.sync(ctx, f) // now of its name
	}
	_ = do(ctx, l, f.Close) // it is on the disk
	return err
}

// complete returns when the file has all bytes, on the disk. Without that extension it is
// closed: some of these servers rename no file that is open.
func (s *Store) complete(ctx context.Context, l *link, f *pkgsftp.File, i installation) error {
	info, err := l.fstat(ctx, f)
	if err == nil && info.Size() != i.size {
		err = fmt.Errorf("%s: %w: %d bytes were written, and the server has %d", s.Place(i.key), sink.ErrUnavailable, i.size, info.Size())
	}
	if err == nil {
		err = s.age(ctx, l, info, i)
	}
	if err == nil {
		err = l.sync(ctx, f)
	}
	if err != nil || !l.has(extFsync) {
		err = errors.Join(err, do(ctx, l, f.Close))
	}
	return err
}

// age has the file be later than the object that it replaces: by that its version differs.
func (s *Store) age(ctx context.Context, l *link, info fs.FileInfo, i installation) error {
	there, err := s.find(ctx, l, i.key)
	if err != nil || there == nil || there.ModTime().Before(info.ModTime()) {
		return err
	}
	later := there.ModTime().Add(time.Second)
	return tolerate(do(ctx, l, func() error { return l.client.Chtimes(s.path(i.hidden), later, later) }))
}

func (s *Store) rename(ctx context.Context, l *link, i installation) error {
	from, to := s.path(i.hidden), s.path(i.key)
	if i.how != replaces {
		return s.renameNew(ctx, l, i)
	}
	if l.has(extPosixRename) {
		return do(ctx, l, func() error { return l.client.PosixRename(from, to) })
	}
	var err error
	for range attempts {
		err = do(ctx, l, func() error { return l.client.Rename(from, to) })
		if err == nil || errors.Is(err, os.ErrNotExist) || !answered(err) {
			return err
		}
		// Another one may have removed it for its own, or have put its own there.
		if there, ferr := s.find(ctx, l, i.key); ferr != nil {
			return ferr
		} else if there != nil {
			if err := l.remove(ctx, to); err != nil {
				return err
			}
		}
	}
	return err
}

// renameNew gives the file its name if no object has it: a link fails then, and so does a
// rename, by the protocol.
func (s *Store) renameNew(ctx context.Context, l *link, i installation) error {
	from, to := s.path(i.hidden), s.path(i.key)
	link := l.has(extHardlink)
	err := do(ctx, l, func() error {
		if link {
			return l.client.Link(from, to)
		}
		return l.client.Rename(from, to)
	})
	switch {
	case err == nil && link:
		return l.remove(ctx, from)
	case err == nil, errors.Is(err, os.ErrNotExist), !answered(err):
		return err
	}
	if there, ferr := s.find(ctx, l, i.key); ferr != nil || there == nil {
		return errors.Join(err, ferr)
	}
	return s.exists(i.key)
}

// Stat implements [object.Store].
func (s *Store) Stat(ctx context.Context, key string) (info object.Info, err error) {
	err = s.try(ctx, key, func(l *link) error {
		there, err := s.find(ctx, l, key)
		if err != nil {
			return err
		}
		if there == nil {
			return s.notFound(key)
		}
		info = about(there)
		return nil
	})
	return info, err
}

// Delete implements [object.Store].
func (s *Store) Delete(ctx context.Context, key string) error {
	return s.try(ctx, key, func(l *link) error {
		trail, err := s.trail(ctx, l, key)
		if err != nil || len(trail) == 0 {
			return err
		}
		if objectIn(trail, key) != nil {
			if err := l.remove(ctx, s.path(key)); err != nil {
				return err
			}
		}
		return s.tidy(ctx, l, key)
	})
}

package sftp

import (
	"context"
	"errors"
	"fmt"
	"os"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

var _ object.Copier = (*Store)(nil)

// Copy implements [object.Copier], by a hard link: the content of a file is never changed once it
// is an object, so both may be one file.
func (s *Store) Copy(ctx context.Context, from, to string, size int64) error {
	var hidden []string
	err := s.try(ctx, to, func(l *link) error {
		if !l.has(extHardlink) {
			return object.ErrCannotCopy
		}
		for range attempts {
			i := installation{to, hide(to), size, replaces}
			hidden = append(hidden, i.hidden)
			if err := s.hardlink(ctx, l, from, i); !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return errVanished
	})
	if err != nil || len(hidden) > 1 { // a file that has both names already is not renamed
		for _, h := range hidden {
			s.discard(ctx, h)
		}
	}
	return err
}

// hardlink makes the object at from another one too.
func (s *Store) hardlink(ctx context.Context, l *link, from string, i installation) error {
	is, err := s.find(ctx, l, from)
	switch {
	case err != nil:
		return err
	case is == nil:
		return s.notFound(from)
	case is.Size() != i.size:
		return fmt.Errorf("%s: %w: it has %d bytes instead of %d", s.Place(from), sink.ErrUnavailable, is.Size(), i.size)
	}
	trail, err := s.trail(ctx, l, i.key)
	if err == nil {
		err = s.makeFolders(ctx, l, i.key, trail)
	}
	if err != nil {
		return err
	}
	err = do(ctx, l, func() error { return l.client.Link(s.path(from), s.path(i.hidden)) })
	if err != nil && answered(err) && !errors.Is(err, os.ErrNotExist) { // the file system has no such links
		return fmt.Errorf("%w: %w", object.ErrCannotCopy, err)
	}
	if err == nil {
		err = s.age(ctx, l, is, i)
	}
	if err == nil {
		err = s.rename(ctx, l, i)
	}
	if err == nil {
		err = s.syncName(ctx, l, i.key)
	}
	return err
}

// syncName returns when the name of a file is on the disk, too, as far as the server can do that.
func (s *Store) syncName(ctx context.Context, l *link, key string) error {
	if !l.has(extFsync) {
		return nil
	}
	f, err := l.open(ctx, s.path(key), os.O_WRONLY)
	if err != nil {
		return err
	}
	err = l.sync(ctx, f)
	return errors.Join(err, do(ctx, l, f.Close))
}

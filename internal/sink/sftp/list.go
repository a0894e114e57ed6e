package sftp

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/sink/object"
)

// List implements [object.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Entry, error] {
	return func(yield func(object.Entry, error) bool) {
		dir, _ := path.Split(prefix)
		err := s.walk(ctx, path.Clean("/" + dir)[1:], prefix, func(key string, info fs.FileInfo) bool {
			return yield(object.Entry{Key: key, Info: about(info)}, nil)
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(object.Entry{}, err)
		}
	}
}

// errStop ends a walk whose caller has enough.
var errStop = errors.New("stopped")

// walk calls visit for every object below the folder dir whose key begins with prefix, in
// the byte order of the keys, until it returns false.
func (s *Store) walk(ctx context.Context, dir, prefix string, visit func(key string, info fs.FileInfo) bool) error {
	entries, err := s.readFolder(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		key := path.Join(dir, e.Name())
		switch {
		case e.IsDir():
			if !strings.HasPrefix(key+"/", prefix) && !strings.HasPrefix(prefix, key+"/") {
				continue
			}
			if err := s.walk(ctx, key, prefix, visit); err != nil {
				return err
			}
		case e.Mode().IsRegular() && !isHidden(e.Name()) && strings.HasPrefix(key, prefix):
			if !visit(key, e) {
				return errStop
			}
		}
	}
	return nil
}

// readFolder returns what is in a folder, in the byte order of the keys that begin with it:
// "a-b" is before "a/". There is nothing in one that is not there.
func (s *Store) readFolder(ctx context.Context, dir string) (entries []fs.FileInfo, err error) {
	err = s.try(ctx, dir, func(l *link) error {
		trail, err := s.trail(ctx, l, dir)
		if err != nil {
			return err
		}
		entries = nil
		if dir != "" && (len(trail) <= strings.Count(dir, "/") || !trail[len(trail)-1].IsDir()) {
			return nil
		}
		entries, err = l.readDir(ctx, s.path(dir))
		if dir != "" && errors.Is(err, os.ErrNotExist) {
			entries, err = nil, nil
		}
		return err
	})
	entries = slices.DeleteFunc(entries, func(e fs.FileInfo) bool { return strings.Contains(e.Name(), "/") })
	slices.SortFunc(entries, func(a, b fs.FileInfo) int { return cmp.Compare(inKey(a), inKey(b)) })
	return entries, err
}

// inKey is how an entry of a folder goes on in a key.
func inKey(e fs.FileInfo) string {
	if e.IsDir() {
		return e.Name() + "/"
	}
	return e.Name()
}

// Sweep implements [object.Store]. An upload lies in the folder of its object.
func (s *Store) Sweep(ctx context.Context, prefix string) error {
	dir, _ := path.Split(prefix)
	dir = path.Clean("/" + dir)[1:]
	if err := s.sweep(ctx, dir, prefix); err != nil || dir == "" {
		return err
	}
	return s.try(ctx, dir, func(l *link) error { return s.tidy(ctx, l, path.Join(dir, "x")) })
}

// sweep removes hidden files below dir, and the folders that are empty then.
func (s *Store) sweep(ctx context.Context, dir, prefix string) error {
	entries, err := s.readFolder(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		key := path.Join(dir, e.Name())
		switch {
		case e.IsDir() && strings.HasPrefix(key, prefix):
			if err := s.sweep(ctx, key, prefix); err != nil {
				return err
			}
			err = s.try(ctx, key, func(l *link) error {
				rerr := do(ctx, l, func() error { return l.client.RemoveDirectory(s.path(key)) })
				if answered(rerr) {
					return nil // it is not empty, or gone
				}
				return rerr
			})
		case e.Mode().IsRegular() && isHidden(e.Name()) && strings.HasPrefix(key, prefix):
			err = s.try(ctx, key, func(l *link) error { return l.remove(ctx, s.path(key)) })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

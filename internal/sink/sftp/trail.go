package sftp

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/sink"
)

// trail looks at every element of a key, in one round trip, and returns what is there: an
// element for each of the key's, without those at its end that are not there. The sink's
// folder must be there, and no element a symbolic link.
func (s *Store) trail(ctx context.Context, l *link, key string) ([]fs.FileInfo, error) {
	names := strings.Split(key, "/")
	if key == "" {
		names = nil
	}
	infos, errs := make([]fs.FileInfo, len(names)), make([]error, len(names))
	var root fs.FileInfo
	var rerr error
	var wg sync.WaitGroup
	wg.Go(func() { root, rerr = l.stat(ctx, s.path("")) })
	for i := range names {
		wg.Go(func() { infos[i], errs[i] = l.lstat(ctx, s.path(path.Join(names[:i+1]...))) })
	}
	wg.Wait()
	switch {
	case errors.Is(rerr, os.ErrNotExist), rerr == nil && !root.IsDir():
		return nil, s.absent()
	case rerr != nil:
		return nil, rerr
	}
	for i, err := range errs {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return infos[:i], nil
		case err != nil:
			return nil, err
		case infos[i].Mode()&fs.ModeSymlink != 0:
			return nil, fmt.Errorf("%s: %w: it is a symbolic link, and none is followed in a sink; remove it",
				s.Place(path.Join(names[:i+1]...)), sink.ErrUnavailable)
		case !infos[i].IsDir():
			return infos[:i+1], nil // nothing is below it
		}
	}
	return infos, nil
}

// find returns what is known of the object at key, or nil if there is none.
func (s *Store) find(ctx context.Context, l *link, key string) (fs.FileInfo, error) {
	infos, err := s.trail(ctx, l, key)
	return objectIn(infos, key), err
}

func objectIn(trail []fs.FileInfo, key string) fs.FileInfo {
	if n := strings.Count(key, "/") + 1; len(trail) == n && trail[n-1].Mode().IsRegular() {
		return trail[n-1]
	}
	return nil
}

func (s *Store) notFound(key string) error {
	return fmt.Errorf("%s: %w", s.Place(key), sink.ErrNotFound)
}

// makeFolders makes the folders above key that are not in its trail.
func (s *Store) makeFolders(ctx context.Context, l *link, key string, trail []fs.FileInfo) error {
	names := strings.Split(key, "/")
	for i := len(trail); i < len(names)-1; i++ {
		err := makeFolder(ctx, l, s.path(path.Join(names[:i+1]...)))
		if err != nil && !errors.Is(err, os.ErrNotExist) { // one that vanished meanwhile shows when it is used
			return err
		}
	}
	return nil
}

// makeFolder makes a folder, if it is not there. Others may make it and remove it meanwhile.
func makeFolder(ctx context.Context, l *link, at string) (err error) {
	for range attempts {
		err = do(ctx, l, func() error { return l.client.Mkdir(at) })
		if err == nil {
			return tolerate(do(ctx, l, func() error { return l.client.Chmod(at, folderMode) }))
		}
		if errors.Is(err, os.ErrNotExist) || !answered(err) {
			return err
		}
		info, lerr := l.lstat(ctx, at)
		switch {
		case lerr == nil && info.IsDir():
			return nil
		case lerr == nil || !errors.Is(lerr, os.ErrNotExist):
			return err
		}
	}
	return err
}

// Modes of what is made.
const (
	folderMode = 0o700
	fileMode   = 0o600
)

// tidy removes the folders above key that are empty.
func (s *Store) tidy(ctx context.Context, l *link, key string) error {
	for dir := path.Dir(key); dir != "."; dir = path.Dir(dir) {
		err := do(ctx, l, func() error { return l.client.RemoveDirectory(s.path(dir)) })
		switch {
		case err == nil, errors.Is(err, os.ErrNotExist):
		case answered(err):
			return nil // it is not empty
		default:
			return err
		}
	}
	return nil
}

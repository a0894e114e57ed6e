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

// How much is read ahead of a listing, so that it does not wait for every answer by itself:
// so many folders beside one another, each with what is below it, and so many at a time.
const (
	foldersAhead  = 32
	readsAtATime  = 64
	entriesAtHand = 16
)

// List implements [object.Store].
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Entry, error] {
	return func(yield func(object.Entry, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		w := &walk{ctx: ctx, store: s, prefix: prefix, reads: make(chan struct{}, readsAtATime)}
		dir := folderOf(prefix)
		if there, err := s.isFolder(ctx, dir); err != nil {
			yield(object.Entry{}, err)
			return
		} else if !there {
			return
		}
		for f := range w.below(dir) {
			if !yield(object.Entry{Key: f.key, Info: f.info}, f.err) || f.err != nil {
				return
			}
		}
		if err := ctx.Err(); err != nil {
			yield(object.Entry{}, err)
		}
	}
}

// folderOf returns the folder that holds all keys that begin with prefix.
func folderOf(prefix string) string {
	dir, _ := path.Split(prefix)
	return strings.TrimSuffix(dir, "/")
}

// walk finds the objects whose key begins with prefix.
type walk struct {
	ctx    context.Context //nolint:containedctx // it ends its goroutines
	store  *Store
	prefix string
	reads  chan struct{} // is filled by those that read a folder
}

// found is an object, or why no more are found.
type found struct {
	key  string
	info object.Info
	err  error
}

// below returns the objects below a folder in the byte order of their keys. It ends early
// with ctx.
func (w *walk) below(dir string) <-chan found {
	into := make(chan found, entriesAtHand)
	go func() {
		defer close(into)
		if err := w.visit(dir, into); err != nil {
			w.send(into, found{err: err})
		}
	}()
	return into
}

func (w *walk) send(into chan<- found, f found) bool {
	select {
	case into <- f:
		return true
	case <-w.ctx.Done():
		return false
	}
}

func (w *walk) visit(dir string, into chan<- found) error {
	entries, err := w.read(dir)
	if err != nil {
		return err
	}
	var ahead []<-chan found // of the folders from here on
	next := 0                // the entry after the last of them
	for i, e := range entries {
		for next = max(next, i); next < len(entries) && len(ahead) < foldersAhead; next++ {
			if entries[next].IsDir() {
				ahead = append(ahead, w.below(path.Join(dir, entries[next].Name())))
			}
		}
		if !e.IsDir() {
			if !w.send(into, found{key: path.Join(dir, e.Name()), info: about(e)}) {
				return nil
			}
			continue
		}
		for f := range ahead[0] {
			if !w.send(into, f) || f.err != nil {
				return nil
			}
		}
		ahead = ahead[1:]
	}
	return nil
}

// read returns what counts in a folder.
func (w *walk) read(dir string) ([]fs.FileInfo, error) {
	select {
	case w.reads <- struct{}{}:
		defer func() { <-w.reads }()
	case <-w.ctx.Done():
		return nil, nil
	}
	entries, err := w.store.readFolder(w.ctx, dir)
	return slices.DeleteFunc(entries, func(e fs.FileInfo) bool {
		key := path.Join(dir, e.Name())
		if e.IsDir() {
			return !strings.HasPrefix(key+"/", w.prefix) && !strings.HasPrefix(w.prefix, key+"/")
		}
		return !e.Mode().IsRegular() || isHidden(e.Name()) || !strings.HasPrefix(key, w.prefix)
	}), err
}

// isFolder reports whether there is a folder at dir, to which no symbolic link leads.
func (s *Store) isFolder(ctx context.Context, dir string) (is bool, err error) {
	err = s.try(ctx, dir, func(l *link) error {
		trail, err := s.trail(ctx, l, dir)
		is = dir == "" || len(trail) == strings.Count(dir, "/")+1 && trail[len(trail)-1].IsDir()
		return err
	})
	return is, err
}

// readFolder returns what is in a folder, in the byte order of the keys that begin with it:
// "a-b" is before "a/". There is nothing in one that is not there.
func (s *Store) readFolder(ctx context.Context, dir string) (entries []fs.FileInfo, err error) {
	err = s.try(ctx, dir, func(l *link) error {
		var err error
		entries, err = l.readDir(ctx, s.path(dir))
		if errors.Is(err, os.ErrNotExist) {
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
	dir := folderOf(prefix)
	if there, err := s.isFolder(ctx, dir); err != nil || !there {
		return err
	}
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

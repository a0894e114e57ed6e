package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"
	"strings"
	"syscall"

	"holdfast.io/holdfast/internal/sink"
)

// Open implements [sink.Sink].
func (s *Sink) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), checkKey(key)); err != nil {
		return nil, err
	}
	root, err := s.top()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	f, err := openKey(root, key)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, fmt.Errorf("%s: %w", key, sink.ErrNotFound)
	}
	if err != nil {
		return nil, explain(path.Join(s.dir, key), err)
	}
	return &reader{f: f, place: path.Join(s.dir, key)}, nil
}

// openKey opens the file at key. A folder is nothing that has a key.
func openKey(root *os.Root, key string) (*os.File, error) {
	at, err := enter(root, path.Dir(key), false)
	if err != nil {
		return nil, err
	}
	defer at.Close()
	if info, err := at.Lstat(path.Base(key)); err == nil && info.IsDir() {
		return nil, fs.ErrNotExist
	}
	return openFile(at, path.Base(key))
}

// reader reads one object.
type reader struct {
	f     *os.File
	place string
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.f.Read(p)
	if err != io.EOF {
		err = explain(r.place, err)
	}
	return n, err
}

// Close implements [io.Closer].
func (r *reader) Close() error { return r.f.Close() }

// pointDepth is the number of folders below points on the way to a point.
const pointDepth = 4

// errStop ends a walk whose caller has seen enough.
var errStop = errors.New("stop")

// Points implements [sink.Sink]. The names of one folder for each level are in
// memory at a time.
func (s *Sink) Points(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		err := s.walkPoints(ctx, func(dir string) error {
			if !yield(dir, nil) {
				return errStop
			}
			return ctx.Err()
		})
		if err != nil && !errors.Is(err, errStop) {
			yield("", err)
		}
	}
}

func (s *Sink) walkPoints(ctx context.Context, visit func(dir string) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := s.top()
	if err != nil {
		return err
	}
	defer root.Close()
	at, err := openFolder(root, pointsName)
	if errors.Is(err, fs.ErrNotExist) { // no points yet
		return nil
	}
	if err != nil {
		return explain(s.dir, err)
	}
	defer at.Close()
	return s.walk(at, pointsName, pointDepth, visit)
}

// walk visits the folders depth levels below at that hold a manifest. What is
// removed meanwhile is passed over.
func (s *Sink) walk(at *os.Root, dir string, depth int, visit func(dir string) error) error {
	if depth == 0 {
		info, err := at.Lstat(sink.ManifestName)
		if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			return nil
		}
		if err != nil {
			return explain(path.Join(s.dir, dir), err)
		}
		return visit(dir)
	}
	names, err := subfolders(at, depth == 1)
	if err != nil {
		return explain(path.Join(s.dir, dir), err)
	}
	for _, name := range names {
		below, err := openFolder(at, name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errLink) {
			continue
		}
		if err != nil {
			return explain(path.Join(s.dir, dir, name), err)
		}
		err = s.walk(below, path.Join(dir, name), depth-1, visit)
		_ = below.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// subfolders returns the names of the folders in at whose names can be part of a
// key, in the lexical order of the keys below them: db-1/x is before db/x.
func subfolders(at *os.Root, lowest bool) ([]string, error) {
	entries, err := fs.ReadDir(at.FS(), ".")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && checkKey(e.Name()) == nil { // a link is no folder
			names = append(names, e.Name())
		}
	}
	if !lowest {
		slices.SortFunc(names, func(a, b string) int { return strings.Compare(a+"/", b+"/") })
	}
	return names, nil
}

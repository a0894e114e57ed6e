package file

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"
	"path"
	"slices"

	"holdfast.io/holdfast/internal/sink"
)

// Points implements [sink.Lister]. It holds the names of one folder at each level.
// Symbolic links below points, what is not a folder, and names that cannot be part
// of a key, are passed over.
func (s *Sink) Points(ctx context.Context, below string) iter.Seq2[sink.Found, error] {
	return func(yield func(sink.Found, error) bool) {
		err := s.walk(ctx, below, func(folder *os.Root, dir string) error {
			there, err := isPoint(folder)
			if err != nil || !there {
				return err
			}
			if !yield(sink.Found{Dir: dir, Marks: marksIn(folder)}, nil) {
				return errStop
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStop) {
			yield(sink.Found{}, err)
		}
	}
}

var errStop = errors.New("the caller has seen enough")

// walk visits every folder below a folder that is where a point would be.
func (s *Sink) walk(ctx context.Context, below string, visit func(folder *os.Root, dir string) error) error {
	levels, err := sink.LevelsBelow(below)
	if err := errors.Join(ctx.Err(), err); err != nil {
		return err
	}
	root, err := s.root()
	if err != nil {
		return err
	}
	defer root.Close()
	at := root
	if parent := path.Dir(below); parent != "." {
		at, err = openPath(root, parent)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return explain(s.place(below), err)
		}
		defer at.Close()
	}
	w := walk{ctx: ctx, visit: visit}
	err = w.folder(at, below, levels)
	if err != nil && !errors.Is(err, errStop) {
		return explain(s.place(below), err)
	}
	return err
}

type walk struct {
	ctx   context.Context //nolint:containedctx // of the one call that makes the walk
	visit func(folder *os.Root, dir string) error
}

// folder visits the points that lie so many levels below dir; at is the folder that
// holds it.
func (w walk) folder(at *os.Root, dir string, levels int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	folder, err := openFolder(at, path.Base(dir))
	if errors.Is(err, fs.ErrNotExist) { // no points yet, or removed meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	if levels == 0 {
		return w.visit(folder, dir)
	}
	names, err := subfolders(folder)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := w.folder(folder, path.Join(dir, name), levels-1); err != nil {
			return err
		}
	}
	return nil
}

// isPoint reports whether a folder has a manifest, which must be a file.
func isPoint(folder *os.Root) (bool, error) {
	info, err := folder.Lstat(sink.ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().IsRegular(), err
}

// marksIn returns the names of the marks in a point's folder. One that cannot be
// read is among them, whatever it is: who reads it is told why.
func marksIn(folder *os.Root) (names []string) {
	for _, name := range sink.MarkNames {
		if _, err := folder.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			names = append(names, name)
		}
	}
	return names
}

// subfolders returns the names of the folders in a folder, in the order that the
// keys below them have: "a-b/" is before "a/".
func subfolders(folder *os.Root) ([]string, error) {
	f, err := folder.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && sink.CheckKey(e.Name()) == nil { // a link is none
			names = append(names, e.Name())
		}
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(a+"/", b+"/") })
	return names, nil
}

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
		err := s.walk(ctx, below, func(within contents, dir string) error {
			if within.isPoint() && !yield(sink.Found{Dir: dir, Marks: within.marks()}, nil) {
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

// walk visits every folder below a folder that is where a point would be. What lies in
// one is read in one step.
func (s *Sink) walk(ctx context.Context, below string, visit func(within contents, dir string) error) error {
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
	visit func(within contents, dir string) error
}

// folder visits the points that lie so many levels below dir; at is the folder that
// holds it.
func (w walk) folder(at *os.Root, dir string, levels int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if levels == 0 {
		return w.point(at, nil, dir)
	}
	folder, err := openFolder(at, path.Base(dir))
	if errors.Is(err, fs.ErrNotExist) { // no points yet, or removed meanwhile
		return nil
	}
	if err != nil {
		return err
	}
	defer folder.Close()
	opened, err := folder.Open(".")
	if err != nil {
		return err
	}
	defer opened.Close()
	names, err := subfolders(opened)
	if err != nil {
		return err
	}
	for _, name := range names {
		below := path.Join(dir, name)
		if levels == 1 {
			err = w.point(folder, opened, below)
		} else {
			err = w.folder(folder, below, levels-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// point visits the folder dir, where a point would be; at is the folder that holds it.
func (w walk) point(at *os.Root, opened *os.File, dir string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	within, err := entriesOf(at, opened, path.Base(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return w.visit(within, dir)
}

// contents is what lies in a folder.
type contents []fs.DirEntry

// isPoint reports whether there is a manifest, which must be a file.
func (c contents) isPoint() bool {
	return slices.ContainsFunc(c, func(e fs.DirEntry) bool { return e.Name() == sink.ManifestName && e.Type().IsRegular() })
}

// has reports whether there is something with a name, whatever it is.
func (c contents) has(name string) bool {
	return slices.ContainsFunc(c, func(e fs.DirEntry) bool { return e.Name() == name })
}

// marks returns the names of the marks. One that cannot be read is among them, whatever
// it is: who reads it is told why.
func (c contents) marks() (names []string) {
	for _, name := range sink.MarkNames {
		if c.has(name) {
			names = append(names, name)
		}
	}
	return names
}

// entriesBelow returns what is in the folder name in at.
func entriesBelow(at *os.Root, name string) (contents, error) {
	folder, err := openFolder(at, name)
	if err != nil {
		return nil, err
	}
	defer folder.Close()
	opened, err := folder.Open(".")
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	return opened.ReadDir(-1)
}

// isPoint reports whether a folder has a manifest, which must be a file.
func isPoint(folder *os.Root) (bool, error) {
	info, err := folder.Lstat(sink.ManifestName)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && info.Mode().IsRegular(), err
}

// subfolders returns the names of the folders in a folder, in the order that the
// keys below them have: "a-b/" is before "a/".
func subfolders(folder *os.File) ([]string, error) {
	entries, err := folder.ReadDir(-1)
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

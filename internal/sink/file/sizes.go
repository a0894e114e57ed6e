package file

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"os"

	"holdfast.io/holdfast/internal/sink"
)

// Sizes implements [sink.Sizer]: how long files are, whatever their file system makes of it.
// Symbolic links are passed over.
func (s *Sink) Sizes(ctx context.Context) iter.Seq2[sink.Portion, error] {
	return func(yield func(sink.Portion, error) bool) {
		root, err := s.root()
		if err != nil {
			yield(sink.Portion{}, err)
			return
		}
		defer root.Close()
		w := weigher{ctx: ctx, yield: yield}
		levels, _ := sink.LevelsBelow(sink.PointsName) // it is one
		if err = w.folder(root, sink.PointsName, levels, ""); err == nil {
			err = w.folder(root, stagingName, 1, "")
		}
		if err != nil && !errors.Is(err, errStop) {
			yield(sink.Portion{}, explain(s.dir, err))
		}
	}
}

type weigher struct {
	ctx   context.Context //nolint:containedctx // of the one call that makes the weigher
	yield func(sink.Portion, error) bool
}

// folder weighs the folder name in at, of which what lies so many levels below is called by
// its own name; of is the name of what it is in, once that is known.
func (w weigher) folder(at *os.Root, name string, levels int, of string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	folder, err := openFolder(at, name)
	if err != nil {
		return unlessGone(err)
	}
	defer folder.Close()
	entries, err := entriesBelow(at, name)
	if err != nil {
		return unlessGone(err)
	}
	portion := sink.Portion{Of: of}
	for _, e := range entries {
		bytes, err := w.entry(folder, e, levels, of)
		if err != nil {
			return err
		}
		portion.Bytes += bytes
	}
	if of != "" && !w.yield(portion, nil) {
		return errStop
	}
	return nil
}

// entry returns how many bytes something in a folder has, and weighs what is a folder itself.
func (w weigher) entry(folder *os.Root, e fs.DirEntry, levels int, of string) (bytes int64, err error) {
	switch {
	case e.IsDir() && levels == 1:
		return 0, w.folder(folder, e.Name(), 0, e.Name())
	case e.IsDir():
		return 0, w.folder(folder, e.Name(), levels-1, of)
	case of == "" || !e.Type().IsRegular():
		return 0, nil
	}
	info, err := folder.Lstat(e.Name())
	if err != nil {
		return 0, unlessGone(err)
	}
	return info.Size(), nil
}

// unlessGone returns an error, unless it is that of what is not there yet, or was removed
// meanwhile.
func unlessGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

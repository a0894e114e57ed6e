package file

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"holdfast.io/holdfast/internal/sink"
)

// Publish implements [sink.Staging].
func (t *staging) Publish(ctx context.Context, manifest []byte) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case t.ended:
		return errEnded
	case t.open > 0:
		return fmt.Errorf("%s: %w", t.place(), errUnfinished)
	}
	t.ended = true
	if err := writeFile(t.own, sink.ManifestName, manifest); err != nil {
		return explain(path.Join(t.place(), sink.ManifestName), err)
	}
	if err := syncFolder(t.own); err != nil {
		return explain(t.place(), err)
	}
	root, err := t.sink.root() // the mount may have changed during a long upload
	if err != nil {
		return err
	}
	defer root.Close()
	err = inFolder(root, path.Dir(t.dir), t.appear)
	if errors.Is(err, sink.ErrExists) {
		return err
	}
	return explain(t.sink.place(t.dir), err)
}

// appear makes the attempt's folder the point. The rename fails if there is one:
// it replaces an empty folder, but a point has its manifest.
func (t *staging) appear(parent *os.Root) error {
	id := path.Base(t.dir)
	if err := rename(t.all, t.name, parent, id); err != nil {
		return t.whyNot(parent, id, err)
	}
	return errors.Join(syncFolder(parent), syncFolder(t.all))
}

// whyNot returns why the attempt did not become the point.
func (t *staging) whyNot(parent *os.Root, id string, err error) error {
	there, oerr := openFolder(parent, id)
	if errors.Is(oerr, fs.ErrNotExist) {
		return err
	}
	if oerr != nil {
		return oerr
	}
	defer there.Close()
	if _, err := there.Lstat(sink.ManifestName); err != nil {
		return fmt.Errorf("a folder is there that is no point, as it has no %s; move it away: %w", sink.ManifestName, err)
	}
	return fmt.Errorf("%s: %w", t.sink.place(t.dir), sink.ErrExists)
}

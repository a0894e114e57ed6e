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

// maxMoves bounds how often a move is tried while others remove the folders that
// it needs because they are empty.
const maxMoves = 10

// Publish implements [sink.Staging]. It may be called once.
func (t *staging) Publish(ctx context.Context, manifest []byte) error {
	if t.at == nil {
		return errEnded
	}
	if t.pending > 0 {
		return fmt.Errorf("%d artifacts of %s are not stored", t.pending, t.dir)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := t.finish(manifest); err != nil {
		return explain(t.sink.dir, err)
	}
	// The disk may have gone or changed while the artifacts were written.
	root, err := t.sink.top()
	if err != nil {
		return err
	}
	defer root.Close()
	for range maxMoves {
		if err = t.move(root); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if errors.Is(err, sink.ErrExists) {
		return err
	}
	return explain(t.sink.dir, err)
}

// finish makes the attempt's folder complete and durable.
func (t *staging) finish(manifest []byte) error {
	defer t.seal() // some network mounts do not rename a folder that is open
	if err := writeFile(t.at, sink.ManifestName, manifest); err != nil {
		return err
	}
	return syncFolder(t.at)
}

// move makes the attempt's folder the point's, and makes that durable.
func (t *staging) move(root *os.Root) error {
	own, err := t.isOwn()
	if err != nil {
		return err
	}
	if !own {
		return fmt.Errorf("%w: the attempt at %s was removed or replaced while it ran", sink.ErrUnavailable, t.dir)
	}
	to, err := follow(root, path.Dir(t.dir), true)
	if err != nil {
		return err
	}
	defer to.close()
	if err := t.rename(to.last(), path.Base(t.dir)); err != nil {
		err = t.taken(to.last(), err)
		to.undo()
		return err
	}
	t.published = true
	return errors.Join(to.sync(), syncFolder(t.all))
}

// taken says why the rename failed if something has the point's name. A rename
// replaces an empty folder but not a point, which has a manifest.
func (t *staging) taken(parent *os.Root, failed error) error {
	name := path.Base(t.dir)
	if _, err := parent.Lstat(name); err != nil {
		return failed
	}
	if point, err := openFolder(parent, name); err == nil {
		defer point.Close()
		if info, err := point.Lstat(sink.ManifestName); err == nil && info.Mode().IsRegular() {
			return fmt.Errorf("%s: %w", t.dir, sink.ErrExists)
		}
	}
	return fmt.Errorf("%w: something that is no point has the name %s; remove it: %w", sink.ErrUnavailable, t.dir, failed)
}

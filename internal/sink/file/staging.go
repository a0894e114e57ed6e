package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"holdfast.io/holdfast/internal/sink"
)

// errEnded means that a staging was used after Publish or Discard.
var errEnded = errors.New("the attempt has ended")

// staging is one attempt at a point, in a folder of its own below staging.
type staging struct {
	sink *Sink
	dir  string   // of the point
	all  *os.Root // staging; nil after Discard
	name string   // of the attempt's folder in it

	at        *os.Root    // the attempt's folder; nil when nothing more can be written
	info      fs.FileInfo // of that folder, to tell it from one that replaced it
	pending   int         // artifacts that were begun and are not stored
	published bool
}

// Stage implements [sink.Sink].
func (s *Sink) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	if err := errors.Join(ctx.Err(), checkPoint(dir)); err != nil {
		return nil, err
	}
	root, err := s.top()
	if err != nil {
		return nil, err
	}
	defer root.Close()
	all, err := enter(root, stagingName, true)
	if err != nil {
		return nil, explain(s.dir, err)
	}
	t := &staging{sink: s, dir: dir, all: all, name: attemptName(dir, attempt)}
	if err := t.begin(); err != nil {
		_ = all.Close()
		return nil, explain(s.dir, err)
	}
	return t, nil
}

// checkPoint refuses what is not the folder of a point.
func checkPoint(dir string) error {
	if strings.Count(dir, "/") != pointDepth || !strings.HasPrefix(dir, pointsName+"/") {
		return fmt.Errorf("%q is not the folder of a point", dir)
	}
	return checkKey(dir)
}

// attemptName returns the name of an attempt's folder: what people may look for,
// and a hash of all that makes the attempt the one it is.
func attemptName(dir, attempt string) string {
	const readable = 100
	id := path.Base(dir)
	sum := sha256.Sum256([]byte(dir + "\x00" + attempt))
	return id[:min(len(id), readable)] + "~" + hex.EncodeToString(sum[:])[:16]
}

// begin makes the attempt's folder, in place of one that a dead process left.
func (t *staging) begin() error {
	if err := t.all.RemoveAll(t.name); err != nil {
		return err
	}
	made, err := makeFolder(t.all, t.name)
	if err != nil {
		return err
	}
	if !made {
		return fmt.Errorf("another process makes the same attempt at %s", t.dir)
	}
	if t.at, err = openFolder(t.all, t.name); err != nil {
		return err
	}
	t.info, err = t.at.Stat(".")
	return err
}

// Create implements [sink.Staging].
func (t *staging) Create(ctx context.Context, name string) (io.WriteCloser, string, error) {
	if t.at == nil {
		return nil, "", errEnded
	}
	if err := errors.Join(ctx.Err(), checkKey(name)); err != nil {
		return nil, "", err
	}
	if name == sink.ManifestName {
		return nil, "", fmt.Errorf("%q is the name of the manifest, and not of an artifact", name)
	}
	way, err := follow(t.at, path.Dir(name), true)
	if err != nil {
		return nil, "", explain(t.sink.dir, err)
	}
	f, err := createFile(way.last(), path.Base(name))
	if err != nil {
		way.close()
		return nil, "", explain(t.sink.dir, err)
	}
	t.pending++
	return &writer{staging: t, f: f, way: way}, path.Join(t.dir, name), nil
}

// writer writes one artifact.
type writer struct {
	staging *staging
	f       *os.File // nil when closed
	way     trail    // to the artifact's folder
	err     error    // the first one
}

// Write implements [io.Writer].
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	if err != nil {
		err = explain(w.staging.sink.dir, err)
		w.err = errors.Join(w.err, err)
	}
	return n, err
}

// Close makes the artifact durable. It fails if a Write did.
func (w *writer) Close() error {
	if w.f == nil {
		return w.err
	}
	f := w.f
	w.f = nil
	if w.err == nil {
		w.err = explain(w.staging.sink.dir, errors.Join(f.Sync(), w.way.sync()))
	}
	w.err = errors.Join(w.err, f.Close())
	w.way.close()
	if w.err == nil {
		w.staging.pending--
	}
	return w.err
}

// Discard implements [sink.Staging].
func (t *staging) Discard(context.Context) error {
	if t.all == nil {
		return nil
	}
	own, err := t.isOwn()
	if own && !t.published {
		err = t.all.RemoveAll(t.name)
	}
	t.seal()
	err = errors.Join(err, t.all.Close())
	t.all = nil
	return explain(t.sink.dir, err)
}

// isOwn reports whether the attempt's folder is there, and is still the one that
// this staging made.
func (t *staging) isOwn() (bool, error) {
	info, err := t.all.Lstat(t.name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(info, t.info), err
}

// seal ends the writing.
func (t *staging) seal() {
	if t.at != nil {
		_ = t.at.Close()
		t.at = nil
	}
}

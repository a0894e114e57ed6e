package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"holdfast.io/holdfast/internal/sink"
)

// staging is one attempt at a point, in staging/<point id>-<attempt>.
type staging struct {
	sink      *Sink
	dir       string // of the point
	name      string // of the folder in staging
	root      *os.Root
	at        *os.Root // the attempt's folder; nil when it has ended
	published bool
}

// Stage implements [sink.Sink].
func (s *Sink) Stage(_ context.Context, dir, attempt string) (sink.Staging, error) {
	name := path.Base(dir) + "-" + attempt
	if err := errors.Join(checkKey(dir), checkKey(name)); err != nil {
		return nil, err
	}
	if strings.Count(dir, "/") != 4 || !strings.HasPrefix(dir, pointsName+"/") || strings.Contains(name, "/") {
		return nil, fmt.Errorf("%q is not the folder of a point", dir)
	}
	var root *os.Root
	err := s.within(func(opened *os.Root) (err error) {
		if err = s.verify(opened); err != nil {
			return err
		}
		root, err = opened.OpenRoot(".")
		return err
	})
	if err != nil {
		return nil, explain(s.dir, err)
	}
	t := &staging{sink: s, dir: dir, name: name, root: root}
	if err := t.begin(); err != nil {
		_ = root.Close()
		return nil, explain(s.dir, err)
	}
	return t, nil
}

// begin makes the attempt's folder, in place of one that a dead process left.
func (t *staging) begin() error {
	all, err := enter(t.root, stagingName, true)
	if err != nil {
		return err
	}
	defer all.Close()
	if err := all.RemoveAll(t.name); err != nil {
		return err
	}
	t.at, err = enter(all, t.name, true)
	return err
}

// Create implements [sink.Staging].
func (t *staging) Create(_ context.Context, name string) (io.WriteCloser, string, error) {
	if err := checkKey(name); err != nil {
		return nil, "", err
	}
	at, err := enter(t.at, path.Dir(name), true)
	if err != nil {
		return nil, "", explain(t.sink.dir, err)
	}
	defer at.Close()
	f, err := createFile(at, path.Base(name))
	if err != nil {
		return nil, "", explain(t.sink.dir, err)
	}
	return &writer{f: f, place: t.sink.dir}, path.Join(t.dir, name), nil
}

// writer writes one artifact.
type writer struct {
	f     *os.File
	place string
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.f.Write(p)
	return n, explain(w.place, err)
}

// Close makes the artifact durable.
func (w *writer) Close() error {
	return explain(w.place, errors.Join(w.f.Sync(), w.f.Close()))
}

// Publish implements [sink.Staging].
func (t *staging) Publish(_ context.Context, manifest []byte) error {
	if err := t.publish(manifest); err != nil {
		return explain(t.sink.dir, err)
	}
	t.published = true
	return nil
}

func (t *staging) publish(manifest []byte) error {
	if err := writeFile(t.at, sink.ManifestName, manifest); err != nil {
		return err
	}
	if err := syncFolder(t.at); err != nil {
		return err
	}
	// The mount may have gone or changed during a long upload.
	if err := t.sink.within(t.sink.verify); err != nil {
		return err
	}
	parent, err := enter(t.root, path.Dir(t.dir), true)
	if err != nil {
		return err
	}
	defer parent.Close()
	// A rename replaces an empty folder but not a point, which has a manifest.
	err = t.root.Rename(path.Join(stagingName, t.name), t.dir)
	if errors.Is(err, fs.ErrExist) || exists(parent, path.Base(t.dir)) && err != nil {
		return fmt.Errorf("%s: %w", t.dir, sink.ErrExists)
	}
	if err != nil {
		return err
	}
	return syncFolder(parent)
}

func exists(at *os.Root, name string) bool {
	_, err := at.Lstat(name)
	return err == nil
}

// Discard implements [sink.Staging].
func (t *staging) Discard(context.Context) error {
	if t.at == nil {
		return nil
	}
	errs := t.at.Close()
	t.at = nil
	if !t.published {
		errs = errors.Join(errs, t.root.RemoveAll(path.Join(stagingName, t.name)))
	}
	return explain(t.sink.dir, errors.Join(errs, t.root.Close()))
}

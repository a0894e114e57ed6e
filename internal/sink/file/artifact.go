package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"

	"holdfast.io/holdfast/internal/sink"
)

// writeBackStep is after how many bytes the system is asked to begin writing
// them to the disk. It works while the next ones are made, where the sync at the
// end would wait for all of them.
const writeBackStep = 8 << 20

// artifact is an artifact that is written.
type artifact struct {
	ctx     context.Context //nolint:containedctx // a writer has no other place for it
	staging *staging
	folder  *os.Root // that the file lies in; nil when the artifact has ended
	f       *os.File // nil when it is closed
	name    string   // in folder
	place   string
	size    int64
	begun   int64 // bytes that the system was asked to write
	err     error // the first one, which stays
}

var (
	errUnfinished    = errors.New("an artifact of this attempt was neither committed nor aborted; discard the attempt")
	errArtifactEnded = errors.New("the artifact has ended")
)

// Create implements [sink.Staging].
func (t *staging) Create(ctx context.Context, name string, _ int64) (sink.Writer, string, error) {
	if err := errors.Join(ctx.Err(), sink.CheckArtifact(name)); err != nil {
		return nil, "", err
	}
	a := &artifact{ctx: ctx, staging: t, name: path.Base(name), place: path.Join(t.place(), name)}
	if err := t.open(a); err != nil {
		return nil, "", err
	}
	if err := a.create(path.Dir(name)); err != nil {
		t.close(a)
		return nil, "", explain(a.place, err)
	}
	return a, path.Join(t.dir, name), nil
}

// create makes the file in the folder dir of the attempt.
func (a *artifact) create(dir string) error {
	return whileFoldersVanish(func() error {
		to := a.staging.sink
		return to.inFolder(a.staging.own, dir, func(folder *os.Root) (err error) {
			if a.folder, err = folder.OpenRoot("."); err != nil {
				return err
			}
			if a.f, err = to.createFile(folder, a.name); err != nil {
				return errors.Join(err, a.folder.Close())
			}
			return nil
		})
	})
}

// Write implements [sink.Writer].
func (a *artifact) Write(p []byte) (int, error) {
	if err := a.failed(); err != nil {
		return 0, err
	}
	n, err := a.f.Write(p)
	a.err = explain(a.place, err)
	a.size += int64(n)
	if a.size-a.begun >= writeBackStep {
		beginWriteBack(a.f, a.begun, a.size-a.begun)
		a.begun = a.size
	}
	return n, a.err
}

// failed returns why nothing more can be done but to abort.
func (a *artifact) failed() error {
	if a.err == nil {
		a.err = a.ctx.Err()
	}
	return a.err
}

// Commit implements [sink.Writer]: it makes the file durable, with its name.
func (a *artifact) Commit() error {
	if err := a.failed(); err != nil {
		return err
	}
	err := a.f.Sync()
	err = errors.Join(err, a.f.Close())
	a.f = nil
	if err == nil {
		err = syncFolder(a.folder)
	}
	if err != nil {
		a.err = explain(a.place, err)
		return a.err
	}
	a.end()
	return nil
}

// Abort implements [sink.Writer].
func (a *artifact) Abort() error {
	if a.folder == nil {
		return nil
	}
	if a.f != nil {
		_ = a.f.Close() // what it holds does not matter
		a.f = nil
	}
	if a.err == nil {
		a.err = errArtifactEnded
	}
	if err := a.folder.Remove(a.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return explain(a.place, err)
	}
	a.end()
	return nil
}

// end lets the attempt be published as far as this artifact goes.
func (a *artifact) end() {
	_ = a.folder.Close()
	a.folder = nil
	if a.err == nil {
		a.err = errArtifactEnded
	}
	a.staging.close(a)
}

package object

import (
	"context"
	"errors"
	"fmt"

	"holdfast.io/holdfast/internal/sink"
)

// artifact is an artifact that is written.
type artifact struct {
	ctx       context.Context //nolint:containedctx // a writer has no other place for it
	staging   *staging
	name      string
	upload    Upload
	size      int64
	err       error // the first one, which stays
	committed bool  // guarded by the staging's mu
	removed   bool
}

var errArtifactEnded = errors.New("the artifact has ended")

// Create implements [sink.Staging].
func (t *staging) Create(ctx context.Context, name string, most int64) (sink.Writer, string, error) {
	if err := errors.Join(ctx.Err(), sink.CheckArtifact(name)); err != nil {
		return nil, "", err
	}
	key := t.prefix + name
	a := &artifact{ctx: ctx, staging: t, name: name}
	if err := t.take(a); err != nil {
		return nil, "", err
	}
	var err error
	if a.upload, err = t.sink.store.Begin(ctx, key, most); err != nil {
		t.release(a)
		return nil, "", err
	}
	return a, key, nil
}

// take gives the artifact its name, unless that is taken or the attempt has ended.
func (t *staging) take(a *artifact) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return errEnded
	}
	if a.name == fenceName || t.artifacts[a.name] != nil {
		return fmt.Errorf("%s: the name is taken", t.sink.store.Place(t.prefix+a.name))
	}
	t.artifacts[a.name] = a
	return nil
}

func (a *artifact) key() string { return a.staging.prefix + a.name }

func (t *staging) release(a *artifact) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.artifacts[a.name] == a {
		delete(t.artifacts, a.name)
	}
}

// Write implements [sink.Writer].
func (a *artifact) Write(p []byte) (int, error) {
	if err := a.usable(); err != nil {
		return 0, err
	}
	n, err := a.upload.Write(p)
	a.size += int64(n)
	a.err = a.because(err)
	return n, a.err
}

// usable returns the first error, also that the artifact or ctx has ended.
func (a *artifact) usable() error {
	switch {
	case a.err != nil:
	case a.committed, a.removed:
		return errArtifactEnded
	default:
		a.err = a.ctx.Err()
	}
	return a.err
}

// because returns the end of ctx in place of an error that it led to.
func (a *artifact) because(err error) error {
	if cause := a.ctx.Err(); err != nil && cause != nil {
		return cause
	}
	return err
}

// Commit implements [sink.Writer].
func (a *artifact) Commit() error {
	if err := a.usable(); err != nil {
		return err
	}
	if a.err = a.because(a.upload.Commit()); a.err != nil {
		return a.err
	}
	a.staging.mu.Lock()
	defer a.staging.mu.Unlock()
	if a.staging.ended { // by Discard, which may have missed it
		a.err = errEnded
		return a.err
	}
	a.committed = true
	return nil
}

// Abort implements [sink.Writer].
func (a *artifact) Abort() error {
	if a.committed || a.removed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(a.ctx), discardTime)
	defer cancel()
	return a.remove(ctx)
}

// remove removes the artifact, whether or not it was committed. If it fails the name stays
// taken by what is unfinished.
func (a *artifact) remove(ctx context.Context) error {
	var err error
	if a.committed {
		err = a.staging.sink.store.Delete(ctx, a.key())
	} else {
		err = a.upload.Abort(ctx)
	}
	if err != nil {
		return err
	}
	a.removed = true
	a.staging.release(a)
	return nil
}

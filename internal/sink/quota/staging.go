package quota

import (
	"context"
	"time"

	"holdfast.io/holdfast/internal/sink"
)

// staging is an attempt, and its books, which the mutex of the sink guards.
type staging struct {
	sink.Staging
	sink     *Sink
	portions []string // as [sink.Portion] names what lies of it

	expected int64 // bytes that it needs, about; at least 1
	written  int64 // bytes that its artifacts have
	claimed  int64 // the larger one, until the attempt ends
}

// Create implements [sink.Staging].
func (t *staging) Create(ctx context.Context, name string, most int64) (sink.Writer, string, error) {
	w, key, err := t.Staging.Create(ctx, name, most)
	if err != nil {
		return nil, "", err
	}
	return &writer{Writer: w, ctx: ctx, staging: t}, key, nil
}

// Publish implements [sink.Staging].
func (t *staging) Publish(ctx context.Context, manifest []byte) error {
	err := t.Staging.Publish(ctx, manifest)
	if err == nil {
		t.sink.publish(t, len(manifest))
	} else {
		t.sink.forget() // the point may be there, by this attempt or by another one
	}
	return err
}

// Discard implements [sink.Staging].
func (t *staging) Discard(ctx context.Context) error {
	err := t.Staging.Discard(ctx)
	if err != nil {
		t.sink.forget()
	}
	t.sink.drop(t)
	return err
}

// writer writes one artifact.
type writer struct {
	sink.Writer
	ctx     context.Context //nolint:containedctx // a writer has no other place for it
	staging *staging
	written int64
	err     error // that the artifact was ended with
	ended   bool  // by Commit or Abort
}

// Write implements [sink.Writer].
func (w *writer) Write(p []byte) (int, error) {
	if w.err == nil && !w.ended {
		if w.err = w.staging.sink.claim(w.ctx, w.staging, int64(len(p)), time.Now()); w.err == nil {
			w.written += int64(len(p))
		}
	}
	if w.err != nil {
		return 0, w.err
	}
	return w.Writer.Write(p)
}

// Commit implements [sink.Writer].
func (w *writer) Commit() error {
	if w.err != nil {
		return w.err
	}
	err := w.Writer.Commit()
	w.ended = w.ended || err == nil
	return err
}

// Abort implements [sink.Writer].
func (w *writer) Abort() error {
	err := w.Writer.Abort()
	if err == nil && !w.ended {
		w.ended = true
		w.staging.sink.giveBack(w.staging, w.written)
	}
	return err
}

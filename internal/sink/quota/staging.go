package quota

import (
	"context"
	"io"
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
	return &writer{Writer: w, books: books{ctx: ctx, staging: t}}, key, nil
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

// CreateBlob implements [sink.Staging].
func (t *staging) CreateBlob(ctx context.Context, most int64) (sink.BlobWriter, error) {
	w, err := t.Staging.CreateBlob(ctx, most)
	if err != nil {
		return nil, err
	}
	return &blobWriter{BlobWriter: w, books: books{ctx: ctx, staging: t}}, nil
}

// books are those of one artifact, or of one blob, within its attempt's.
type books struct {
	ctx     context.Context //nolint:containedctx // a writer has no other place for it
	staging *staging
	written int64
	err     error // that it was ended with
	ended   bool  // by Commit or Abort
}

// write claims what is written to a writer.
func (b *books) write(to io.Writer, p []byte) (int, error) {
	if b.err == nil && !b.ended {
		if b.err = b.staging.sink.claim(b.ctx, b.staging, int64(len(p)), time.Now()); b.err == nil {
			b.written += int64(len(p))
		}
	}
	if b.err != nil {
		return 0, b.err
	}
	return to.Write(p)
}

// abort gives back what was written, once abort has removed it.
func (b *books) abort(abort func() error) error {
	err := abort()
	if err == nil && !b.ended {
		b.ended = true
		b.staging.sink.giveBack(b.staging, b.written)
	}
	return err
}

// writer writes one artifact.
type writer struct {
	sink.Writer
	books
}

// Write implements [sink.Writer].
func (w *writer) Write(p []byte) (int, error) { return w.write(w.Writer, p) }

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
func (w *writer) Abort() error { return w.abort(w.Writer.Abort) }

// blobWriter writes one blob.
type blobWriter struct {
	sink.BlobWriter
	books
}

// Write implements [sink.BlobWriter].
func (w *blobWriter) Write(p []byte) (int, error) { return w.write(w.BlobWriter, p) }

// Commit implements [sink.BlobWriter].
func (w *blobWriter) Commit(digest string) error {
	if w.err != nil {
		return w.err
	}
	err := w.BlobWriter.Commit(digest)
	if err == nil && !w.ended {
		w.ended = true
		w.staging.sink.share(w.staging, w.written)
	}
	return err
}

// Abort implements [sink.BlobWriter].
func (w *blobWriter) Abort() error { return w.abort(w.BlobWriter.Abort) }

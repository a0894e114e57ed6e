// Package parts cuts a stream of unknown size into parts of one size, and sends some of them
// at a time, in bounded memory.
package parts

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"holdfast.io/holdfast/internal/sink"
)

// Sizes of parts, in bytes.
const (
	// Min is how large parts are at least: Amazon takes no smaller ones.
	Min = 5 << 20
	// buffered bounds what is held in memory, unless that is less than one part.
	buffered = 3 * Min
	round    = 1 << 20
)

// Size returns how large the parts of a stream of at most most bytes are, of which there may
// be so many. All have that size but the last one, as some services refuse others, so it
// must be known before the first one is sent.
func Size(most int64, parts int) int64 {
	part := (most + int64(parts) - 1) / int64(parts)
	return max(Min, (part+round-1)/round*round)
}

// Options say how parts are sent.
type Options struct {
	// Size is how large the parts are, and Max how many there may be.
	Size int64
	Max  int
	// Large is set if more than one part is expected.
	Large bool
	// Place is where the object lies, for messages.
	Place string
	// Begin is called before the first part is sent, unless it is nil.
	Begin func(ctx context.Context) error
	// Send sends a part; the first one has the number 1. It is called by several goroutines
	// at a time, and content is its own until it returns.
	Send func(ctx context.Context, number int, content []byte) error
}

// Writer sends what is written to it. What fits into one part is not sent: see Whole. One
// goroutine uses it, and ends it with Close.
type Writer struct {
	o      Options
	ctx    context.Context //nolint:containedctx // a writer has no other place for it
	cancel context.CancelCauseFunc

	filling []byte
	free    chan []byte // buffers of parts that were sent
	buffers int         // that were made
	sent    int         // parts that were begun
	size    int64
	sending sync.WaitGroup
	tried   bool // to make an object of it
}

// New returns a writer, which the end of ctx ends too.
func New(ctx context.Context, o Options) *Writer {
	w := &Writer{o: o, free: make(chan []byte, max(1, buffered/o.Size))}
	if o.Large {
		w.filling, w.buffers = make([]byte, 0, o.Size), 1
	}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	return w
}

// Context is done when the writer has ended, for whichever reason.
func (w *Writer) Context() context.Context { return w.ctx }

// Err returns why the writer has ended, or nil.
func (w *Writer) Err() error { return context.Cause(w.ctx) }

// Size returns how many bytes were written.
func (w *Writer) Size() int64 { return w.size }

// Count returns how many parts were begun.
func (w *Writer) Count() int { return w.sent }

// Write implements [io.Writer]. It reports sink.ErrTooLarge where there are too many parts.
func (w *Writer) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		if err := w.Err(); err != nil {
			return n, err
		}
		taken := min(int64(len(p)), w.o.Size-int64(len(w.filling)))
		w.fill(p[:taken])
		n, p = n+int(taken), p[taken:]
		if int64(len(w.filling)) == w.o.Size {
			if err := w.send(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// fill adds to what becomes a part. The buffer of the first one grows as it is filled, as
// most objects are small.
func (w *Writer) fill(p []byte) {
	if w.filling == nil && w.sent > 0 {
		w.filling = w.buffer()
	}
	w.filling = append(w.filling, p...)
	w.size += int64(len(p))
}

// buffer returns a buffer for a part, when there is one.
func (w *Writer) buffer() []byte {
	select {
	case b := <-w.free:
		return b
	default:
	}
	if w.buffers < cap(w.free) {
		w.buffers++
		return make([]byte, 0, w.o.Size)
	}
	return <-w.free
}

// send sends what was filled as the next part, while the caller goes on.
func (w *Writer) send() error {
	if w.sent == w.o.Max {
		return fmt.Errorf("%s: %w: it has more than %d parts of %d MiB; set maxArtifact of the sink to what it may have",
			w.o.Place, sink.ErrTooLarge, w.o.Max, w.o.Size>>20)
	}
	if w.sent == 0 {
		if err := w.begin(); err != nil {
			return err
		}
	}
	w.sent++
	number, content := w.sent, w.filling
	w.filling = nil
	w.sending.Go(func() {
		if err := w.o.Send(w.ctx, number, content); err != nil {
			w.cancel(err)
		}
		w.free <- content[:0]
	})
	return nil
}

func (w *Writer) begin() error {
	w.buffers = 1 // the one that is full
	if w.o.Begin == nil {
		return nil
	}
	return w.o.Begin(w.ctx)
}

// Commit makes an object of what was written: by whole where that is less than a part, and
// else by join when all parts are there. After an error the object may be there.
func (w *Writer) Commit(whole func(ctx context.Context, content []byte) error, join func() error) error {
	if err := w.Err(); err != nil {
		return err
	}
	w.tried = true
	var err error
	if w.sent == 0 {
		err = whole(w.ctx, w.filling)
	} else if err = w.flush(); err == nil {
		err = join()
	}
	if err == nil {
		w.Close()
	}
	return err
}

// Tried reports whether a Commit was: the object may be there.
func (w *Writer) Tried() bool { return w.tried }

// flush sends the rest, and returns when all parts are there.
func (w *Writer) flush() error {
	if len(w.filling) > 0 {
		if err := w.send(); err != nil {
			return err
		}
	}
	w.sending.Wait()
	return w.Err()
}

var errClosed = errors.New("the upload has ended")

// Close breaks off what is being sent, and returns when nothing is. It may be called twice.
func (w *Writer) Close() {
	w.cancel(errClosed)
	w.sending.Wait()
	w.filling = nil
}

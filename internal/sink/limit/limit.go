// Package limit bounds how many bytes a second go to a sink, always or in some hours of the
// day.
package limit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"holdfast.io/holdfast/internal/sink"
)

// MinRate is the least rate, in bytes a second: with less an artifact would be taken for
// one that does not move.
const MinRate = 64 << 10

// Options say what is bounded.
type Options struct {
	// Rate is how many bytes of artifacts go to the sink in a second, of all items together.
	Rate int64
	// Hours are when the rate counts, "08:00-18:00", by this machine's time; empty for
	// always. The end may be before the begin: then it is on the next day.
	Hours string
}

// Sink is a sink to which only so many bytes go in a second. What is read from it is not
// bounded.
type Sink struct {
	sink.Sink
	limiter *rate.Limiter
	hours   hours
}

// New bounds a sink, by options that Check takes.
func New(s sink.Sink, o Options) *Sink {
	h, _ := o.hours()
	burst := int(min(o.Rate, 1<<20)) // what comes in one write waits as one
	return &Sink{Sink: s, limiter: rate.NewLimiter(rate.Limit(o.Rate), burst), hours: h}
}

// Check refuses options that make no sense.
func (o Options) Check() error {
	_, err := o.hours()
	return err
}

func (o Options) hours() (hours, error) {
	if o.Rate < MinRate {
		return hours{}, fmt.Errorf("the limit is %d bytes a second; it must be at least %d", o.Rate, MinRate)
	}
	if o.Hours == "" {
		return hours{}, nil
	}
	from, to, found := strings.Cut(o.Hours, "-")
	h, err := hours{}, errors.New("")
	if found {
		h.from, err = minute(from)
		if err == nil {
			h.to, err = minute(to)
		}
	}
	if err != nil || h.from == h.to {
		return hours{}, fmt.Errorf("limitHours is %q; it must be two times of a day, as in 08:00-18:00", o.Hours)
	}
	return h, nil
}

// hours is a part of each day, in minutes from its begin; the zero value is all of it.
type hours struct{ from, to int }

func minute(text string) (int, error) {
	t, err := time.Parse("15:04", strings.TrimSpace(text))
	return t.Hour()*60 + t.Minute(), err
}

// include reports whether a moment is in the hours.
func (h hours) include(t time.Time) bool {
	now := t.Hour()*60 + t.Minute()
	switch {
	case h == hours{}:
		return true
	case h.from < h.to:
		return h.from <= now && now < h.to
	}
	return now >= h.from || now < h.to
}

// Unwrap returns the sink that is bounded, for [sink.As].
func (s *Sink) Unwrap() sink.Sink { return s.Sink }

// Filters implements [sink.Filter]: only what passes through here is bounded.
func (s *Sink) Filters() bool { return true }

// Stage implements [sink.Stager].
func (s *Sink) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	t, err := s.Sink.Stage(ctx, dir, attempt)
	if err != nil {
		return nil, err
	}
	return staging{t, s}, nil
}

type staging struct {
	sink.Staging
	sink *Sink
}

// Create implements [sink.Staging].
func (t staging) Create(ctx context.Context, name string, most int64) (sink.Writer, string, error) {
	w, key, err := t.Staging.Create(ctx, name, most)
	if err != nil {
		return nil, "", err
	}
	return &artifactWriter{w, writer{w, ctx, t.sink}}, key, nil
}

type artifactWriter struct {
	sink.Writer
	bounded writer
}

// Write implements [sink.Writer].
func (w *artifactWriter) Write(p []byte) (int, error) { return w.bounded.Write(p) }

// CreateBlob implements [sink.Staging].
func (t staging) CreateBlob(ctx context.Context, most int64) (sink.BlobWriter, error) {
	w, err := t.Staging.CreateBlob(ctx, most)
	if err != nil {
		return nil, err
	}
	return &blobWriter{w, writer{w, ctx, t.sink}}, nil
}

type blobWriter struct {
	sink.BlobWriter
	bounded writer
}

// Write implements [sink.BlobWriter].
func (w *blobWriter) Write(p []byte) (int, error) { return w.bounded.Write(p) }

type writer struct {
	io.Writer
	ctx  context.Context //nolint:containedctx // a writer has no other place for it
	sink *Sink
}

// Write writes within the limit.
func (w *writer) Write(p []byte) (n int, err error) {
	for first := true; first || len(p) > 0; first = false {
		part := p[:min(len(p), w.sink.limiter.Burst())]
		if w.sink.hours.include(time.Now()) {
			// It refuses at once to wait beyond the deadline of ctx: then that is what ends it.
			if err := w.sink.limiter.WaitN(w.ctx, len(part)); err != nil && w.ctx.Err() == nil {
				<-w.ctx.Done()
			}
		}
		wrote, err := w.Writer.Write(part) // which reports that ctx has ended
		n += wrote
		if err != nil {
			return n, err
		}
		p = p[len(part):]
	}
	return n, nil
}

// Package quota bounds how many bytes Holdfast has in a sink.
//
// What lies there is counted by listing the sink: points, also those that are removed and
// whose bytes still lie there, what dead attempts left, and what points share. It is counted again when the
// count is old, when something was removed, and before anything is refused. What this process
// is storing counts by its own books, so that of two jobs at a time one sees the other. What
// others store meanwhile is seen with the next count.
package quota

import (
	"context"
	"errors"
	"fmt"
	"path"
	"sync"
	"time"

	"holdfast.io/holdfast/internal/bytesize"
	"holdfast.io/holdfast/internal/sink"
)

// maxAge is how old a count may be when a point is begun.
const maxAge = 5 * time.Minute

// Sink is a sink with a quota.
type Sink struct {
	sink.Sink
	quota int64
	place string

	counting chan struct{} // has room for who counts

	mu      sync.Mutex        // guards what follows, and the books of attempts
	counted time.Time         // when that was begun; zero if the count no longer holds
	lying   int64             // bytes in the sink, without those of what is in flight
	flight  map[*staging]bool // what this process is storing
	claimed int64             // bytes that all of that claims
	count   *count            // the one that is under way; nil if none is
}

// count is what happens while the sink is listed.
type count struct {
	ours   map[string]bool // portions of what was in flight meanwhile
	stored int64           // bytes of what was published
	stale  bool            // something was removed
}

// New bounds a sink that lies at a place to so many bytes.
func New(s sink.Sink, quota int64, place string) *Sink {
	return &Sink{Sink: s, quota: quota, place: place, counting: make(chan struct{}, 1), flight: map[*staging]bool{}}
}

var _ sink.Rationed = (*Sink)(nil)

// Unwrap returns the sink that is bounded, for [sink.As].
func (s *Sink) Unwrap() sink.Sink { return s.Sink }

// Filters implements [sink.Filter]: only what passes through here is counted before it lies there.
func (s *Sink) Filters() bool { return true }

// Ration implements [sink.Rationed].
func (s *Sink) Ration(ctx context.Context) (used, quota int64, err error) {
	err = s.recount(ctx, time.Now().Add(-maxAge))
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lying + s.claimed, s.quota, err
}

// HasRoom implements [sink.Rationed].
func (s *Sink) HasRoom(ctx context.Context) error {
	t := &staging{sink: s}
	defer s.drop(t)
	return s.reserve(ctx, t, 0)
}

// Stage implements [sink.Stager].
func (s *Sink) Stage(ctx context.Context, dir, attempt string) (sink.Staging, error) {
	return s.StageAtLeast(ctx, dir, attempt, 0)
}

// StageAtLeast implements [sink.Rationed].
func (s *Sink) StageAtLeast(ctx context.Context, dir, attempt string, bytes int64) (sink.Staging, error) {
	name, err := sink.AttemptName(dir, attempt)
	if err != nil {
		return nil, err
	}
	t := &staging{sink: s, portions: []string{path.Base(dir), name}}
	if err := s.reserve(ctx, t, bytes); err != nil {
		return nil, err
	}
	if t.Staging, err = s.Sink.Stage(ctx, dir, attempt); err != nil {
		s.drop(t)
		return nil, err
	}
	return t, nil
}

// Unstage implements [sink.Stager].
func (s *Sink) Unstage(ctx context.Context, dir, attempt string) error {
	defer s.forget()
	return s.Sink.Unstage(ctx, dir, attempt)
}

// RemovePoint implements [sink.Remover].
func (s *Sink) RemovePoint(ctx context.Context, dir string) error {
	defer s.forget()
	return s.Sink.RemovePoint(ctx, dir)
}

// Remove implements [sink.Remover].
func (s *Sink) Remove(ctx context.Context, key string) error {
	defer s.forget()
	return s.Sink.Remove(ctx, key)
}

// RemoveShared implements [sink.Sharer].
func (s *Sink) RemoveShared(ctx context.Context, key string) error {
	defer s.forget()
	return s.Sink.RemoveShared(ctx, key)
}

// reserve opens the books of an attempt, with so many bytes as it is known to need.
func (s *Sink) reserve(ctx context.Context, t *staging, bytes int64) error {
	began := time.Now()
	if err := s.recount(ctx, began.Add(-maxAge)); err != nil {
		return err
	}
	t.expected = max(bytes, 1)
	return s.claim(ctx, t, 0, began)
}

// claim has an attempt write so many bytes more, or reports sink.ErrFull, by a count that was
// begun after some time.
func (s *Sink) claim(ctx context.Context, t *staging, bytes int64, began time.Time) error {
	if s.take(t, bytes) {
		return nil
	}
	if err := s.recount(ctx, began); err != nil {
		return err
	}
	if s.take(t, bytes) {
		return nil
	}
	return s.full(t)
}

func (s *Sink) take(t *staging, bytes int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	more := max(t.expected, t.written+bytes) - t.claimed
	if more > 0 && s.lying+s.claimed+more > s.quota {
		return false
	}
	t.written += bytes
	t.claimed += more
	s.claimed += more
	if !s.flight[t] {
		s.flight[t] = true
		s.count.add(t)
	}
	return true
}

// giveBack takes bytes of an attempt out of its books that do not lie in the sink any more.
func (s *Sink) giveBack(t *staging, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.written -= bytes
	s.lower(t)
}

// lower lowers what an attempt claims, as its books say less than they did. The caller holds mu.
func (s *Sink) lower(t *staging) {
	if s.flight[t] {
		less := t.claimed - max(t.expected, t.written)
		t.claimed -= less
		s.claimed -= less
	}
}

// share takes bytes of an attempt out of its books that lie in the sink from now on, whatever
// comes of the attempt. Where they replace others, or a count that is under way has seen them,
// too many are counted until the next count, which comes soon then.
func (s *Sink) share(t *staging, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lying += bytes
	if s.count != nil {
		s.count.stored += bytes
		s.count.stale = true
	}
	t.written -= bytes
	t.expected = max(t.expected-bytes, 1)
	s.lower(t)
}

// drop closes the books of an attempt of which nothing lies in the sink.
func (s *Sink) drop(t *staging) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(t)
}

func (s *Sink) close(t *staging) {
	delete(s.flight, t)
	s.claimed -= t.claimed
	t.claimed = 0
}

// publish closes the books of an attempt that has become a point.
func (s *Sink) publish(t *staging, manifest int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.close(t)
	stored := t.written + int64(manifest)
	s.lying += stored
	if s.count != nil {
		s.count.stored += stored
	}
}

// forget has the sink counted again when that is next needed.
func (s *Sink) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counted = time.Time{}
	if s.count != nil {
		s.count.stale = true
	}
}

func (c *count) add(t *staging) {
	if c == nil {
		return
	}
	for _, name := range t.portions {
		c.ours[name] = true
	}
}

// recount counts what lies in the sink, unless that was done since then.
func (s *Sink) recount(ctx context.Context, since time.Time) error {
	select {
	case s.counting <- struct{}{}:
		defer func() { <-s.counting }()
	case <-ctx.Done():
		return ctx.Err()
	}
	began := time.Now()
	c := s.beginCount(since)
	if c == nil {
		return nil
	}
	lying, err := s.list(ctx, c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count = nil
	if err != nil {
		return fmt.Errorf("see how much lies in the sink, as it has a quota: %w", err)
	}
	s.lying, s.counted = lying+c.stored, began
	if c.stale {
		s.counted = time.Time{}
	}
	return nil
}

func (s *Sink) beginCount(since time.Time) *count {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counted.After(since) {
		return nil
	}
	s.count = &count{ours: map[string]bool{}}
	for t := range s.flight {
		s.count.add(t)
	}
	return s.count
}

var errNoSizes = errors.New("it cannot tell; leave quota out of its configuration")

// list returns how many bytes lie in the sink, without those of what is in flight.
func (s *Sink) list(ctx context.Context, c *count) (lying int64, err error) {
	sizer, ok := sink.As[sink.Sizer](s.Sink)
	if !ok {
		return 0, fmt.Errorf("%s: %w: %w", s.place, sink.ErrUnavailable, errNoSizes)
	}
	for portion, err := range sizer.Sizes(ctx) {
		if err != nil {
			return 0, err
		}
		s.mu.Lock()
		if !c.ours[portion.Of] {
			lying += portion.Bytes
		}
		s.mu.Unlock()
	}
	for _, folder := range sink.SharedNames {
		for o, err := range s.Sink.Shared(ctx, folder) {
			if err != nil {
				return 0, err
			}
			lying += o.Size
		}
	}
	return lying, nil
}

// full says why an attempt may not go on.
func (s *Sink) full(t *staging) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	others := s.claimed - t.claimed
	what := fmt.Sprintf("its quota is %s, and %s are used", bytesize.Format(s.quota), bytesize.Format(s.lying))
	if others > 0 {
		what += fmt.Sprintf(", and %s by what is being stored now", bytesize.Format(others))
	}
	switch {
	case t.written > 0:
		what += fmt.Sprintf("; this point has %s by now, is not complete, and is discarded", bytesize.Format(t.written))
	case t.expected > 1:
		what += fmt.Sprintf("; this point needs about %s", bytesize.Format(t.expected))
	}
	return fmt.Errorf("%s: %w: %s: prune, or raise the quota", s.place, sink.ErrFull, what)
}

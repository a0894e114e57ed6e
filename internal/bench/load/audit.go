//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bench"
)

// auditBound is how long the last request may take to be settled, and the next
// stored event to be read.
const auditBound = time.Minute

// audit is what the message server has stored of the jobs, read when all is over.
type audit struct {
	jobs int
	// once is the number of jobs with exactly one terminal event id and content,
	// succeeded that of those whose end says that all is stored.
	once, succeeded int
	events          int
	stored          []events.BackupItemCompleted
	// failure is the data of an event that says what failed; empty if there is none.
	failure string
}

// err reports jobs that did not end as they should.
func (a *audit) err() error {
	if a.once != a.jobs || a.succeeded != a.jobs {
		return fmt.Errorf("of %d jobs %d ended exactly once, and %d succeeded %s", a.jobs, a.once, a.succeeded, a.failure)
	}
	return nil
}

func (a *audit) endings() string { return ofAll(a.once, a.jobs) }

func ofAll(n, all int) string { return fmt.Sprintf("%d of %d", n, all) }

// terminals are the terminal events of one job.
type terminals struct {
	contents  map[string]bool
	succeeded bool
}

// settled waits until no request is left. An observer may hear of an event before
// it is stored; a request is settled when its job's terminal event is.
func (k *link) settled(ctx context.Context) error {
	var left uint64
	var err error
	none := bench.Until(ctx, auditBound, func() bool {
		var stream jetstream.Stream
		if stream, err = k.js.Stream(ctx, events.StreamRequests); err == nil {
			left = stream.CachedInfo().State.Msgs
		}
		return err == nil && left == 0
	})
	if err := errors.Join(err, ctx.Err()); err != nil {
		return fmt.Errorf("wait for the last request: %w", err)
	}
	if !none {
		return fmt.Errorf("%d requests are not settled %s after their jobs ended", left, auditBound)
	}
	return nil
}

// audit waits until all is settled, reads all stored events, and counts those of
// the jobs of these orders.
func (k *link) audit(ctx context.Context, orders []order) (*audit, error) {
	if err := k.settled(ctx); err != nil {
		return nil, err
	}
	a := &audit{jobs: len(orders)}
	ends := map[string]*terminals{}
	for _, o := range orders {
		ends[o.job()] = &terminals{contents: map[string]bool{}}
	}
	err := k.stored(ctx, func(m jetstream.Msg) error {
		job, eventType := parseEventSubject(m.Subject())
		t := ends[job]
		if t == nil {
			return nil
		}
		a.events++
		return a.take(t, eventType, m)
	})
	if err != nil {
		return nil, fmt.Errorf("read the stored events: %w", err)
	}
	for _, t := range ends {
		if len(t.contents) == 1 {
			a.once++
		}
		if t.succeeded {
			a.succeeded++
		}
	}
	return a, nil
}

func (a *audit) take(t *terminals, eventType string, m jetstream.Msg) error {
	ev, err := events.Decode(m.Headers(), m.Data())
	if err != nil {
		return err
	}
	switch {
	case events.Terminal(eventType):
		t.contents[fmt.Sprint(ev.Context, string(ev.Data()))] = true
		t.succeeded = eventType == events.Backup.ResultType(events.ResultCompleted)
		if !t.succeeded && a.failure == "" {
			a.failure = string(ev.Data())
		}
	case eventType == events.Backup.ResultType(events.ResultItemFailed):
		a.failure = string(ev.Data())
	case eventType == events.Backup.ResultType(events.ResultItemCompleted):
		var done events.BackupItemCompleted
		if err := ev.DataAs(&done); err != nil {
			return err
		}
		a.stored = append(a.stored, done)
	}
	return nil
}

// stored calls take for each stored event, in order.
func (k *link) stored(ctx context.Context, take func(jetstream.Msg) error) error {
	stream, err := k.js.Stream(ctx, events.StreamEvents)
	if err != nil {
		return err
	}
	last := stream.CachedInfo().State.LastSeq
	if last == 0 {
		return nil
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages()
	if err != nil {
		return err
	}
	defer messages.Stop()
	for {
		m, err := messages.Next(jetstream.NextMaxWait(auditBound))
		if err != nil {
			return err
		}
		about, err := m.Metadata()
		if err != nil {
			return err
		}
		if err := take(m); err != nil || about.Sequence.Stream >= last || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
	}
}

// ledger is what the ledger holds in the end.
type ledger struct {
	entries, bytes, writes uint64
}

func (k *link) ledger(ctx context.Context) (ledger, error) {
	stream, err := k.js.Stream(ctx, "KV_"+events.BucketJobs)
	if err != nil {
		return ledger{}, fmt.Errorf("read the ledger: %w", err)
	}
	s := stream.CachedInfo().State
	return ledger{entries: s.Msgs, bytes: s.Bytes, writes: s.LastSeq}, nil
}

// verify reads every artifact of the points in a sink, and returns the number of
// points whose artifacts all have their digest.
func verify(ctx context.Context, sink string, points []events.BackupItemCompleted) (right int, err error) {
	for _, p := range points {
		good := len(p.Artifacts) > 0
		for _, a := range p.Artifacts {
			digest, size, derr := digestOf(filepath.Join(sink, filepath.FromSlash(a.Key)))
			good = good && derr == nil && digest == a.Digest && size == a.Size
			err = errors.Join(err, derr)
		}
		if good {
			right++
		}
		if ctx.Err() != nil {
			return right, ctx.Err()
		}
	}
	return right, err
}

func digestOf(path string) (digest string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	hash := sha256.New()
	size, err = io.Copy(hash, f)
	return "sha256:" + hex.EncodeToString(hash.Sum(nil)), size, err
}

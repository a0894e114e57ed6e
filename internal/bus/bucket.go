package bus

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/ledger"
)

// Headers of the markers that stand for a key that is not there any more.
const (
	headerOperation = "KV-Operation"
	headerMarker    = jetstream.MarkerReasonHeader
	operationDelete = "DEL"
)

// markerTTL is how long a deleted key leaves a marker.
const markerTTL = time.Minute

// Bucket is a key-value bucket of the contract. It implements [ledger.Store]. It
// is read through the leader of its stream, and needs no consumer.
type Bucket struct {
	bus    *Bus
	stream string
	prefix string // of the subjects of its keys
}

var _ ledger.Store = (*Bucket)(nil)

// Jobs returns the bucket with the job ledger.
func (b *Bus) Jobs() *Bucket { return b.bucket(events.BucketJobs) }

// Locks returns the bucket that says who serves a host.
func (b *Bus) Locks() *Bucket { return b.bucket(events.BucketLocks) }

func (b *Bus) bucket(name string) *Bucket {
	return &Bucket{bus: b, stream: "KV_" + name, prefix: "$KV." + name + "."}
}

// Get implements [ledger.Store].
func (k *Bucket) Get(ctx context.Context, key string) ([]byte, uint64, error) {
	e, err := k.last(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	if e.gone {
		return nil, 0, notFound(key)
	}
	return e.Value, e.Revision, nil
}

// Put implements [ledger.Store].
func (k *Bucket) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	revision, err := k.publish(ctx, key, value, expected, ttl)
	if !isConflict(err) {
		return revision, k.failed(key, err)
	}
	// Somebody was first, or it was our own attempt whose answer was lost, or what
	// is there is only a marker.
	now, err := k.last(ctx, key)
	switch {
	case errors.Is(err, ledger.ErrNotFound) && expected == 0:
		revision, err = k.publish(ctx, key, value, 0, ttl)
	case errors.Is(err, ledger.ErrNotFound):
		return 0, conflict(key)
	case err != nil:
		return 0, err
	case !now.gone && bytes.Equal(now.Value, value) && now.Revision > expected:
		return now.Revision, nil
	case now.gone && expected == 0:
		revision, err = k.publish(ctx, key, value, now.Revision, ttl)
	default:
		return 0, conflict(key)
	}
	if isConflict(err) {
		return 0, conflict(key)
	}
	return revision, k.failed(key, err)
}

// Delete implements [ledger.Store].
func (k *Bucket) Delete(ctx context.Context, key string) error {
	m := &nats.Msg{Subject: k.prefix + key, Header: nats.Header{headerOperation: {operationDelete}}}
	err := k.bus.retry(ctx, "deleting from "+k.stream, func(ctx context.Context) error {
		_, err := k.bus.js.PublishMsg(ctx, m, jetstream.WithMsgTTL(markerTTL))
		return err
	})
	return k.failed(key, err)
}

// List implements [ledger.Store].
func (k *Bucket) List(ctx context.Context, pattern string) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		for next := uint64(1); ; {
			m, err := k.bus.stored(ctx, k.stream, query{NextBySubject: k.prefix + pattern, Sequence: next})
			if errors.Is(err, errNoMessage) {
				return
			}
			var e entry
			if err == nil {
				e, err = k.entry(m)
			}
			if err != nil {
				yield(ledger.Entry{}, err)
				return
			}
			next = m.Sequence + 1
			if !e.gone && !yield(e.Entry, nil) {
				return
			}
		}
	}
}

// entry is the last message of a key. It is gone if that is only a marker.
type entry struct {
	ledger.Entry
	gone bool
}

// last returns the last message of a key. It reports ledger.ErrNotFound if there
// is none, not even a marker.
func (k *Bucket) last(ctx context.Context, key string) (entry, error) {
	m, err := k.bus.stored(ctx, k.stream, query{LastBySubject: k.prefix + key})
	if errors.Is(err, errNoMessage) {
		return entry{}, notFound(key)
	}
	if err != nil {
		return entry{}, err
	}
	return k.entry(m)
}

func (k *Bucket) entry(m *stored) (entry, error) {
	headers, err := m.headers()
	if err != nil {
		return entry{}, err
	}
	return entry{
		Entry: ledger.Entry{Key: strings.TrimPrefix(m.Subject, k.prefix), Value: m.Data, Revision: m.Sequence, Time: m.Time},
		gone:  headers.Get(headerOperation) != "" || headers.Get(headerMarker) != "",
	}, nil
}

// publish writes a key by compare-and-set.
func (k *Bucket) publish(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (revision uint64, err error) {
	options := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(expected)}
	if ttl > 0 {
		// The server counts in whole seconds.
		options = append(options, jetstream.WithMsgTTL((ttl + time.Second - 1).Truncate(time.Second)))
	}
	err = k.bus.retry(ctx, "writing to "+k.stream, func(ctx context.Context) error {
		ack, err := k.bus.js.PublishMsg(ctx, &nats.Msg{Subject: k.prefix + key, Data: value}, options...)
		if err != nil {
			return err
		}
		revision = ack.Sequence
		return nil
	})
	return revision, err
}

func (k *Bucket) failed(key string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrFull):
		return fmt.Errorf("write %s to %s: %w (%w)", key, k.stream, ledger.ErrFull, err)
	}
	return fmt.Errorf("write %s to %s: %w", key, k.stream, err)
}

// isConflict reports whether the server refused a write since the key has another
// revision. Streams with replicas have a code of their own for one that is in
// the midst of a change.
func isConflict(err error) bool {
	code := apiCode(err)
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == jetstream.JSErrCodeStreamWrongLastSequenceConstant
}

func notFound(key string) error { return fmt.Errorf("%w: %s", ledger.ErrNotFound, key) }
func conflict(key string) error { return fmt.Errorf("%w: %s", ledger.ErrConflict, key) }

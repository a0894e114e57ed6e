package bus

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/ledger"
)

// Bucket is a key-value bucket of the contract. It implements [ledger.Store], and
// moreover reports ErrNotProvisioned and ErrClosed. Other programs see it as any
// bucket of NATS. On a single server a key can also be written in a full bucket
// if its value does not grow; in a cluster no key can.
type Bucket struct {
	bus    *Bus
	stream string
	prefix string // of the keys' subjects
}

var _ ledger.Store = (*Bucket)(nil)

// Jobs returns the bucket of the jobs' ledger. A key without a time to live is
// kept for ever.
func (b *Bus) Jobs() *Bucket { return b.bucket(events.BucketJobs) }

// Locks returns the bucket of the hosts' locks. A key lives for 10 s at most.
func (b *Bus) Locks() *Bucket { return b.bucket(events.BucketLocks) }

func (b *Bus) bucket(name string) *Bucket {
	return &Bucket{bus: b, stream: bucketStream(name), prefix: bucketSubject(name, "")}
}

// Get implements ledger.Store. A leader that was just cut off from its cluster may
// still answer with what was there before, for some seconds; a Put that goes by
// such an answer is refused.
func (k *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	m, err := k.find(ctx, key)
	if err == nil && m.gone() {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of %s: %w", key, k.stream, err)
	}
	return m.data, m.sequence, nil
}

// find returns the last message of key, tried until ctx ends.
func (k *Bucket) find(ctx context.Context, key string) (m *stored, err error) {
	if !ledger.ValidKey(key) {
		return nil, fmt.Errorf("%q is not a key", key)
	}
	err = k.bus.retry(ctx, "reading "+key, func(ctx context.Context) (err error) {
		m, err = k.last(ctx, key)
		return err
	})
	return m, err
}

// Put implements ledger.Store.
func (k *Bucket) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	w := write{bucket: k, key: key, value: value, expected: expected, last: expected, ttl: ttl}
	revision, err := w.run(ctx)
	if err != nil {
		return 0, fmt.Errorf("write %s of %s: %w", key, k.stream, storeError(err))
	}
	return revision, nil
}

// Delete implements ledger.Store.
func (k *Bucket) Delete(ctx context.Context, key string) error {
	if err := k.remove(ctx, key); err != nil {
		return fmt.Errorf("delete %s of %s: %w", key, k.stream, storeError(err))
	}
	return nil
}

// List implements ledger.Store.
func (k *Bucket) List(ctx context.Context, pattern string) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		if !ledger.ValidPattern(pattern) {
			yield(ledger.Entry{}, fmt.Errorf("list %s: %q is not a pattern", k.stream, pattern))
			return
		}
		for m, err := range k.bus.walk(ctx, k.stream, k.prefix+pattern) {
			if err != nil {
				yield(ledger.Entry{}, err)
				return
			}
			if m.gone() {
				continue
			}
			e := ledger.Entry{Key: strings.TrimPrefix(m.subject, k.prefix), Value: m.data, Revision: m.sequence, Time: m.time}
			if !yield(e, nil) {
				return
			}
		}
	}
}

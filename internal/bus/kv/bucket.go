// Package kv keeps the ledger of jobs and the locks of hosts in key-value buckets
// of NATS.
package kv

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/topology"
	"holdfast.io/holdfast/internal/ledger"
)

// Bucket is a key-value bucket of the contract. It implements [ledger.Store], and
// moreover reports bus.ErrNotProvisioned and bus.ErrClosed. Other programs see it as any
// bucket of NATS. On a single server a key can also be written in a full bucket
// if its value does not grow; in a cluster no key can.
type Bucket struct {
	bus    *bus.Bus
	stream string
	prefix string // of the keys' subjects
}

var _ ledger.Store = (*Bucket)(nil)

// Jobs returns the bucket of the jobs' ledger. A key without a time to live is
// kept for ever.
func Jobs(b *bus.Bus) *Bucket { return bucket(b, events.BucketJobs) }

// Locks returns the bucket of the hosts' locks. A key lives for 10 s at most.
func Locks(b *bus.Bus) *Bucket { return bucket(b, events.BucketLocks) }

func bucket(b *bus.Bus, name string) *Bucket {
	return &Bucket{bus: b, stream: topology.BucketStream(name), prefix: topology.BucketSubject(name, "")}
}

// Get implements ledger.Store. A leader that was just cut off from its cluster may
// still answer with what was there before, for some seconds; a Put that goes by
// such an answer is refused.
func (k *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	m, err := k.find(ctx, key)
	if err == nil && gone(m) {
		err = ledger.ErrNotFound
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read %s of %s: %w", key, k.stream, err)
	}
	return m.Data, m.Sequence, nil
}

// find returns the last message of key, tried until ctx ends.
func (k *Bucket) find(ctx context.Context, key string) (m *bus.Stored, err error) {
	if !ledger.ValidKey(key) {
		return nil, fmt.Errorf("%q is not a key", key)
	}
	err = k.bus.Retry(ctx, "reading "+key, func(ctx context.Context) (err error) {
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

// listAtOnce is how many keys List reads in one exchange with the server. It
// bounds what List holds in memory, by as many of the largest values.
const listAtOnce = 64

// List implements ledger.Store. It asks the stream's leader which keys there are,
// and then for their values, [listAtOnce] at a time. The server's direct reads would
// need fewer messages, but any replica may answer them, also one that has not seen
// every write.
func (k *Bucket) List(ctx context.Context, pattern string) iter.Seq2[ledger.Entry, error] {
	return func(yield func(ledger.Entry, error) bool) {
		if !ledger.ValidPattern(pattern) {
			yield(ledger.Entry{}, fmt.Errorf("list %s: %q is not a pattern", k.stream, pattern))
			return
		}
		keys, err := k.keys(ctx, pattern)
		if err != nil {
			yield(ledger.Entry{}, fmt.Errorf("list %s of %s: %w", pattern, k.stream, err))
			return
		}
		for part := range slices.Chunk(keys, listAtOnce) {
			entries, err := k.entries(ctx, part)
			if err != nil {
				yield(ledger.Entry{}, fmt.Errorf("list %s of %s: %w", pattern, k.stream, err))
				return
			}
			for _, e := range entries {
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// keys returns the keys that match a pattern, those included that are gone and
// have a marker still. It is tried until ctx ends.
func (k *Bucket) keys(ctx context.Context, pattern string) (keys []string, err error) {
	err = k.bus.Retry(ctx, "listing "+k.stream, func(ctx context.Context) (err error) {
		keys, err = k.bus.Subjects(ctx, k.stream, k.prefix+pattern)
		return err
	})
	for i := range keys {
		keys[i] = strings.TrimPrefix(keys[i], k.prefix)
	}
	return keys, err
}

// entries returns the entries of those keys that are not gone. It asks for all at
// once, and is tried until ctx ends.
func (k *Bucket) entries(ctx context.Context, keys []string) (found []ledger.Entry, err error) {
	last := make([]*bus.Stored, len(keys))
	err = k.bus.Retry(ctx, "reading "+k.stream, func(ctx context.Context) error {
		failed := make([]error, len(keys))
		var reading sync.WaitGroup
		for i, key := range keys {
			reading.Go(func() { last[i], failed[i] = k.last(ctx, key) })
		}
		reading.Wait()
		return firstError(failed)
	})
	if err != nil {
		return nil, err
	}
	for i, m := range last {
		if !gone(m) {
			found = append(found, ledger.Entry{Key: keys[i], Value: m.Data, Revision: m.Sequence, Time: m.Time})
		}
	}
	return found, nil
}

func firstError(all []error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

package objects

import (
	"context"
	"encoding/base64"
	"iter"
	"slices"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/sink/object"
)

// listAtOnce is of how many keys List asks at a time.
const listAtOnce = 64

// List implements [object.Store]. The names of all keys of the bucket are in memory, some
// 200 bytes each, as the server neither sorts them nor knows their beginnings. All answers
// are of the stream's leader: another server may not have seen every change.
func (s *Store) List(ctx context.Context, prefix string) iter.Seq2[object.Entry, error] {
	return func(yield func(object.Entry, error) bool) {
		for m, err := range s.metas(ctx, prefix) {
			if err != nil {
				yield(object.Entry{}, err)
				return
			}
			if m.object() != "" && !yield(object.Entry{Key: m.info.Name, Info: m.Info()}, nil) {
				return
			}
		}
	}
}

// Sweep implements [object.Store].
func (s *Store) Sweep(ctx context.Context, prefix string) error {
	for m, err := range s.metas(ctx, prefix) {
		if err != nil {
			return err
		}
		if len(m.uploads)+len(m.garbage) == 0 {
			continue
		}
		err := s.discard(ctx, m.info.Name, func(now *meta) {
			for _, id := range slices.Clone(now.uploads) {
				now.throwAway(id)
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// metas yields what the messages of all keys say that begin with prefix, in the order of the
// keys; their names are the keys.
func (s *Store) metas(ctx context.Context, prefix string) iter.Seq2[meta, error] {
	return func(yield func(meta, error) bool) {
		keys, err := s.keys(ctx, prefix)
		if err != nil {
			yield(meta{}, err)
			return
		}
		for part := range slices.Chunk(keys, listAtOnce) {
			found, err := s.lookAt(ctx, prefix, part)
			if err != nil {
				yield(meta{}, err)
				return
			}
			for i, m := range found {
				m.info.Name = part[i]
				if m.sequence > 0 && !yield(m, nil) {
					return
				}
			}
		}
	}
}

// keys returns the keys that begin with prefix, sorted, with those that have no object.
func (s *Store) keys(ctx context.Context, prefix string) (keys []string, err error) {
	beginning := "$O." + s.options.Bucket + ".M."
	err = s.try(ctx, prefix, s.chunkTime(), func(ctx context.Context, b *bus.Bus) error {
		subjects, err := b.Subjects(ctx, s.stream, beginning+">")
		keys = nil
		for _, subject := range subjects {
			name, derr := base64.URLEncoding.DecodeString(strings.TrimPrefix(subject, beginning))
			if key, own := strings.CutPrefix(string(name), s.prefix); derr == nil && own && strings.HasPrefix(key, prefix) {
				keys = append(keys, key)
			}
		}
		return err
	})
	slices.Sort(keys)
	return keys, err
}

// lookAt returns what the messages of keys say, in their order.
func (s *Store) lookAt(ctx context.Context, prefix string, keys []string) (found []meta, err error) {
	found = make([]meta, len(keys))
	err = s.try(ctx, prefix, s.chunkTime(), func(ctx context.Context, b *bus.Bus) error {
		failed := make([]error, len(keys))
		var reading sync.WaitGroup
		for i, key := range keys {
			reading.Go(func() { found[i], failed[i] = s.last(ctx, b, s.metaSubject(key)) })
		}
		reading.Wait()
		for _, err := range failed {
			if err != nil {
				return err
			}
		}
		return nil
	})
	return found, err
}

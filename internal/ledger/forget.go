package ledger

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// forgetAtOnce is how many jobs are forgotten when there is no room for another
// entry.
const forgetAtOnce = 100

// Forgetful is a Store that makes room when it is full, by forgetting the jobs of
// the host that ended first. A job that has not ended is never forgotten.
type Forgetful struct {
	Store
	Host string
	Log  *zap.Logger
}

// Put implements [Store].
func (f *Forgetful) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	for {
		revision, err := f.Store.Put(ctx, key, value, expected, ttl)
		if !errors.Is(err, ErrFull) {
			return revision, err
		}
		forgotten, ferr := f.forget(ctx)
		if ferr != nil || forgotten == 0 {
			return 0, errors.Join(err, ferr)
		}
		f.Log.Warn("the ledger was full, and the jobs that ended first are forgotten", zap.Int("jobs", forgotten))
	}
}

func (f *Forgetful) forget(ctx context.Context) (int, error) {
	var ended []Entry
	for e, err := range f.List(ctx, f.Host+".*.job") {
		if err != nil {
			return 0, fmt.Errorf("look for jobs to forget: %w", err)
		}
		var head Head
		if err := Decode(e.Key, Version, e.Value, &head); err == nil && head.ended() {
			e.Value = nil
			ended = append(ended, e)
		}
	}
	// A revision is higher than any before.
	slices.SortFunc(ended, func(a, b Entry) int { return cmp.Compare(a.Revision, b.Revision) })
	ended = ended[:min(len(ended), forgetAtOnce)]
	for _, e := range ended {
		if err := f.forgetJob(ctx, strings.TrimSuffix(e.Key, ".job")); err != nil {
			return 0, err
		}
	}
	return len(ended), nil
}

// forgetJob removes the head last: without it the others would lie there until
// they are too old.
func (f *Forgetful) forgetJob(ctx context.Context, job string) error {
	var keys []string
	for e, err := range f.List(ctx, job+".*.*") {
		if err != nil {
			return fmt.Errorf("forget job %s: %w", job, err)
		}
		keys = append(keys, e.Key)
	}
	for _, key := range append(keys, job+".job") {
		if err := f.Delete(ctx, key); err != nil {
			return fmt.Errorf("forget job %s: %w", job, err)
		}
	}
	return nil
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync"
	"time"
)

// partSize bounds one entry of a plan, in bytes: the server's default payload is
// 1 MiB.
const partSize = 256 << 10

// Claim is a job that a worker has claimed, or one that has ended. Its methods
// report ErrLost once another worker has claimed the job. It may be used by
// several goroutines.
type Claim struct {
	jobs  *Jobs
	job   string
	known bool // the job was there before this claim

	plan     []byte
	outcomes map[int][]byte

	mu       sync.Mutex
	head     Head
	revision uint64
}

// load reads what lies beside the head.
func (c *Claim) load(ctx context.Context) error {
	parts := map[int][]byte{}
	for e, err := range c.jobs.Store.List(ctx, c.jobs.key(c.job, "*", "*")) {
		if err != nil {
			return fmt.Errorf("read job %s: %w", c.job, err)
		}
		switch kind, i, ok := place(e.Key); {
		case ok && kind == "plan" && i < c.head.Parts:
			parts[i] = e.Value
		case ok && kind == "item":
			c.outcomes[i] = e.Value
		}
	}
	if len(parts) != c.head.Parts {
		return fmt.Errorf("job %s: the ledger has %d of %d parts of its plan", c.job, len(parts), c.head.Parts)
	}
	for i := range c.head.Parts {
		c.plan = append(c.plan, parts[i]...)
	}
	return nil
}

// New reports whether this is the first attempt at the job.
func (c *Claim) New() bool { return !c.known }

// Attempt counts the claims of the job, this one included.
func (c *Claim) Attempt() uint64 { return c.snapshot().Attempt }

// Began is when the job was first claimed.
func (c *Claim) Began() time.Time { return c.snapshot().Began }

// Stored is when the request was stored in its stream: that of its first message,
// if it was published again.
func (c *Claim) Stored() time.Time { return c.snapshot().Stored }

// AwaySince is since when the job is put off; zero if it is not.
func (c *Claim) AwaySince() time.Time { return c.snapshot().AwaySince }

// Cancelled reports whether the job was to be cancelled when it was claimed.
func (c *Claim) Cancelled() bool { return c.snapshot().Cancelled }

// Terminal is the job's terminal event; empty if it has not ended.
func (c *Claim) Terminal() []byte { return c.snapshot().End }

// Begun are the items that earlier attempts began and did not end.
func (c *Claim) Begun() map[int]Begun { return c.snapshot().Begun }

// Plan is the plan as it stood when the job was claimed; nil if there was none.
func (c *Claim) Plan() []byte { return c.plan }

// Outcomes are what came of the items by their place in the plan, as they stood
// when the job was claimed.
func (c *Claim) Outcomes() map[int][]byte { return c.outcomes }

func (c *Claim) snapshot() Head {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.head
	h.Begun = maps.Clone(h.Begun)
	return h
}

// SetPlan enters the plan, whole or not at all.
func (c *Claim) SetPlan(ctx context.Context, plan []byte) error {
	parts := 0
	for ; parts*partSize < len(plan); parts++ {
		part := plan[parts*partSize : min(len(plan), (parts+1)*partSize)]
		if err := c.replace(ctx, c.jobs.key(c.job, "plan", strconv.Itoa(parts)), part); err != nil {
			return fmt.Errorf("enter the plan of job %s: %w", c.job, err)
		}
	}
	return c.update(ctx, func(h *Head) { h.Parts = parts })
}

// replace writes an entry, also in place of one that an attempt left that died
// before it counted.
func (c *Claim) replace(ctx context.Context, key string, value []byte) error {
	revision := uint64(0)
	for {
		_, err := c.jobs.Store.Put(ctx, key, value, revision, openRetention)
		if !errors.Is(err, ErrConflict) {
			return err
		}
		_, revision, err = c.jobs.Store.Get(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return err
		}
	}
}

// Begin enters that the item is begun, and what the attempt may leave behind. It
// also proves that the job is still this worker's.
func (c *Claim) Begin(ctx context.Context, item int, note []byte) error {
	return c.update(ctx, func(h *Head) {
		if h.Begun == nil {
			h.Begun = map[int]Begun{}
		}
		h.Begun[item] = Begun{Tries: h.Begun[item].Tries + 1, Note: note}
	})
}

// EndItem enters what came of the item, and returns what stands: that of the
// first who entered something..
func (c *Claim) EndItem(ctx context.Context, item int, outcome []byte) (stands []byte, err error) {
	key := c.jobs.key(c.job, "item", strconv.Itoa(item))
	for {
		_, err := c.jobs.Store.Put(ctx, key, outcome, 0, openRetention)
		if err == nil {
			return outcome, c.back(ctx)
		}
		if !errors.Is(err, ErrConflict) {
			return nil, fmt.Errorf("enter item %d of job %s: %w", item, c.job, err)
		}
		stands, _, err := c.jobs.Store.Get(ctx, key)
		if !errors.Is(err, ErrNotFound) {
			return stands, err
		}
	}
}

// back clears since when the job is put off: an item has ended again.
func (c *Claim) back(ctx context.Context) error {
	if c.AwaySince().IsZero() {
		return nil
	}
	return c.update(ctx, func(h *Head) { h.AwaySince = time.Time{} })
}

// PutOff enters that the attempt ends with a word: the items that it began do not
// count as tries. With away, the Engine or the sink is away.
func (c *Claim) PutOff(ctx context.Context, away bool) error {
	return c.update(ctx, func(h *Head) {
		for i, b := range h.Begun {
			b.Tries = 0
			h.Begun[i] = b
		}
		if away && h.AwaySince.IsZero() {
			h.AwaySince = time.Now().UTC()
		}
	})
}

// End enters the terminal event, and returns the one that stands.
func (c *Claim) End(ctx context.Context, terminal []byte) (stands []byte, err error) {
	err = c.update(ctx, func(h *Head) {
		if !h.ended() {
			h.End, h.Begun = terminal, nil
		}
	})
	return c.Terminal(), err
}

// update changes the head by compare-and-set.
func (c *Claim) update(ctx context.Context, change func(h *Head)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		next := c.head
		next.Begun = maps.Clone(next.Begun)
		change(&next)
		revision, err := c.jobs.putHead(ctx, c.job, next, c.revision)
		if err == nil {
			c.head, c.revision = next, revision
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		now, revision, err := c.jobs.head(ctx, c.job)
		if err != nil {
			return err
		}
		if now.Owner != c.head.Owner || now.Attempt != c.head.Attempt {
			return fmt.Errorf("job %s: %w", c.job, ErrLost)
		}
		c.head, c.revision = now, revision
	}
}

package ledger

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"
)

const (
	// partSize bounds one entry of a plan, in bytes: the server's default payload is
	// 1 MiB.
	partSize = 256 << 10
	// MaxRecordBytes bounds what an attempt at an item may leave behind.
	MaxRecordBytes = 128 << 10
)

// Claim is a job that a worker has claimed, or one that has ended. Its methods
// report ErrLost once another worker has claimed the job. It may be used by
// several goroutines.
type Claim struct {
	jobs  *Jobs
	job   string
	known bool // the job was there before this claim

	plan     []byte
	outcomes map[int][]byte
	damaged  error

	mu       sync.Mutex
	begun    map[int]begunEntry
	head     Head
	revision uint64
}

// begunEntry is the entry of an item that was begun.
type begunEntry struct {
	Begun
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
		case ok && kind == "begun":
			b := begunEntry{revision: e.Revision}
			err := Decode(e.Key, Version, e.Value, &b.Begun)
			if errors.Is(err, ErrNewer) {
				return err
			}
			c.damaged = errors.Join(c.damaged, err)
			c.begun[i] = b
		}
	}
	if len(parts) != c.head.Parts {
		err := fmt.Errorf("%w: job %s has %d of %d parts of its plan", ErrDamaged, c.job, len(parts), c.head.Parts)
		c.damaged = errors.Join(c.damaged, err)
		return nil
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

// Failed counts the attempts before this one that, one after the other, did not end
// in order.
func (c *Claim) Failed() uint64 {
	h := c.snapshot()
	return h.Attempt - 1 - h.Orderly
}

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

// Begun are the items that attempts began, by their place in the plan.
func (c *Claim) Begun() map[int]Begun {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[int]Begun, len(c.begun))
	for i, b := range c.begun {
		b.Tries = b.failed(c.head)
		all[i] = b.Begun
	}
	return all
}

// failed returns how many attempts at the item did not end in order.
func (b *Begun) failed(h Head) int {
	if b.Attempt <= h.Orderly {
		return 0
	}
	return b.Tries
}

// Damaged is set if not all that the ledger has of the job can be read: it cannot be
// carried on, only ended. It is ErrDamaged.
func (c *Claim) Damaged() error { return c.damaged }

// Plan is the plan as it stood when the job was claimed; nil if there was none.
func (c *Claim) Plan() []byte { return c.plan }

// Outcomes are what came of the items by their place in the plan, as they stood
// when the job was claimed.
func (c *Claim) Outcomes() map[int][]byte { return c.outcomes }

func (c *Claim) snapshot() Head {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head
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

// Begin stores that this attempt begins the item, and what it may leave behind;
// without a record what is known of earlier attempts stays. It counts as one try
// however often an attempt calls it. When it returns, the job was still this
// worker's: who claims it later finds the record. It reports ErrTooLarge for a
// record of more than MaxRecordBytes.
func (c *Claim) Begin(ctx context.Context, item int, record []byte) error {
	if len(record) > MaxRecordBytes {
		return fmt.Errorf("begin item %d of job %s: its undo record has %d bytes, at most %d are kept: %w",
			item, c.job, len(record), MaxRecordBytes, ErrTooLarge)
	}
	if err := c.putBegun(ctx, item, record); err != nil {
		return fmt.Errorf("begin item %d of job %s: %w", item, c.job, err)
	}
	// The record is stored before the head is read, and whoever claims the job writes
	// the head before it reads the records: one of the two sees the other.
	now, _, err := c.jobs.head(ctx, c.job)
	if err != nil {
		return err
	}
	return c.own(now)
}

// putBegun stores the entry of an item that this attempt begins.
func (c *Claim) putBegun(ctx context.Context, item int, record []byte) error {
	key := c.jobs.key(c.job, "begun", strconv.Itoa(item))
	for {
		c.mu.Lock()
		before, head := c.begun[item], c.head
		c.mu.Unlock()
		next := Begun{Version: Version, Attempt: head.Attempt, Tries: before.Tries, Record: before.Record}
		if before.Attempt != head.Attempt {
			next.Tries = before.failed(head) + 1
		}
		if record != nil {
			next.Record = record
		}
		raw, err := Encode(next)
		if err != nil {
			return err
		}
		revision, err := c.jobs.Store.Put(ctx, key, raw, before.revision, openRetention)
		if err == nil {
			c.setBegun(item, begunEntry{next, revision})
			return nil
		}
		if !errors.Is(err, ErrConflict) {
			return err
		}
		now, err := c.getBegun(ctx, key)
		if err != nil {
			return err
		}
		if now.Attempt > head.Attempt {
			return ErrLost
		}
		c.setBegun(item, now)
	}
}

func (c *Claim) setBegun(item int, b begunEntry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.begun[item] = b
}

// getBegun returns the entry as it stands, an empty one if it was forgotten.
func (c *Claim) getBegun(ctx context.Context, key string) (b begunEntry, err error) {
	raw, revision, err := c.jobs.Store.Get(ctx, key)
	switch {
	case errors.Is(err, ErrNotFound):
		return b, nil
	case err != nil:
		return b, err
	}
	b.revision = revision
	return b, Decode(key, Version, raw, &b.Begun)
}

// own reports ErrLost if a head as it stands is of another attempt.
func (c *Claim) own(now Head) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now.Owner != c.head.Owner || now.Attempt != c.head.Attempt {
		return fmt.Errorf("job %s: %w", c.job, ErrLost)
	}
	return nil
}

// EndItem stores the item's outcome and returns the one that counts: the first that
// was stored.
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

// PutOff records an orderly end: the items it began do not count as failed tries.
// away says that the Engine or the sink was unavailable.
func (c *Claim) PutOff(ctx context.Context, away bool) error {
	return c.update(ctx, func(h *Head) {
		h.Orderly = h.Attempt
		if away && h.AwaySince.IsZero() {
			h.AwaySince = time.Now().UTC()
		}
	})
}

// End enters the terminal event, and returns the one that stands.
func (c *Claim) End(ctx context.Context, terminal []byte) (stands []byte, err error) {
	err = c.update(ctx, func(h *Head) {
		if !h.ended() {
			h.End = terminal
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

package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/stall"
)

// Captured is one item of a set whose containers were captured at one point in
// time, or failed to be. It is either stored or discarded.
type Captured struct {
	backuper *Runner
	task     Task
	run      *itemRun // nil for an image, which has no point in time
	err      error    // why it was not captured
}

// RunTogether captures the containers among the tasks at one point in time: all
// are quiesced, then all are committed, then all are let go. They are stopped in
// the order of the tasks, and started in the reverse one. A container whose mode
// is none is committed as it runs. It returns one Captured for each task, in
// their order, to be stored or discarded by the caller, several at a time or not.
//
// If one container cannot be captured, none is: its item fails for its reason,
// and the others with not_together. Items that an earlier attempt stored stay;
// the rest of their set fails then, as the time of those has passed.
//
// When ctx ends, RunTogether returns within a second, as Run does.
func (b *Runner) RunTogether(ctx context.Context, tasks []Task) []*Captured {
	all := make([]*Captured, 0, len(tasks))
	s := &set{Runner: b, watch: &stall.Watchdog{}}
	for _, t := range tasks {
		c := &Captured{backuper: b, task: t}
		if t.Item.Kind == events.ItemContainer {
			c.run = b.newRun(t)
			c.run.together, c.run.watch = true, s.watch
			s.runs = append(s.runs, c.run)
		}
		all = append(all, c)
	}
	ctx, stop := s.watch.Guard(ctx, b.StallTimeout)
	defer stop()
	ended := await(ctx, s.runs, func() { s.capture(ctx) })
	for _, c := range all {
		if c.run == nil {
			continue
		}
		if err := ctx.Err(); err != nil || c.run.failure() != nil {
			_, c.err = c.run.outcome(ctx, ended)
		}
	}
	return all
}

// Err is why the item was not captured; nil if it was.
func (c *Captured) Err() error { return c.err }

// Store stores what was captured, as Run does. It is called once at most.
func (c *Captured) Store(ctx context.Context) (*Result, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.run == nil {
		return c.backuper.Run(ctx, c.task)
	}
	r := c.run
	r.watch = &stall.Watchdog{}
	ctx, stop := r.watch.Guard(ctx, r.StallTimeout)
	defer stop()
	ended := await(ctx, []*itemRun{r}, func() {
		if !r.isStored() {
			r.finish(ctx, r.storeSnapshot(ctx))
		}
	})
	return r.outcome(ctx, ended)
}

// Discard throws away what was captured and will not be stored. It does nothing
// after Store.
func (c *Captured) Discard() {
	if c.run != nil {
		c.run.handOver(closed)
	}
}

// set are the containers that are captured at one point in time.
type set struct {
	*Runner
	runs  []*itemRun
	watch *stall.Watchdog
}

// capture captures all containers of the set, or ends them all.
func (s *set) capture(ctx context.Context) {
	ctx, endWatch := context.WithCancel(ctx)
	defer endWatch()
	waiting, err := s.find(ctx)
	if err == nil && len(waiting) < len(s.runs) {
		for _, r := range waiting {
			r.finish(ctx, notTogether(r.Item.Item, errors.New("others of the set were stored by an earlier attempt, and their time has passed"), false))
		}
		return
	}
	for _, stage := range []func(context.Context) error{s.lock, s.prepare, s.preHooks, s.quiesce, s.commit} {
		if err == nil {
			err = stage(ctx)
		}
	}
	s.letGo(ctx)
	if err == nil {
		err = s.prove(ctx)
	}
	if err != nil {
		s.fail(ctx, err)
	}
}

// memberError is the error of one member of a set.
type memberError struct {
	run *itemRun
	error
}

func (e memberError) Unwrap() error { return e.error }

// each does something with every member in turn, until one fails.
func (s *set) each(do func(r *itemRun) error) error {
	for _, r := range s.runs {
		if err := do(r); err != nil {
			return memberError{r, err}
		}
	}
	return nil
}

// find returns the members that no earlier attempt has stored.
func (s *set) find(ctx context.Context) (waiting []*itemRun, err error) {
	err = s.each(func(r *itemRun) error {
		if err := doomed(r.Task); err != nil {
			return err
		}
		stored, err := r.find(ctx)
		if !stored {
			waiting = append(waiting, r)
		}
		return err
	})
	return waiting, err
}

// lock takes the containers in one order for all sets, so that no two wait for
// each other.
func (s *set) lock(ctx context.Context) error {
	sorted := &set{runs: slices.SortedFunc(slices.Values(s.runs), func(a, b *itemRun) int {
		return strings.Compare(a.Item.ID, b.Item.ID)
	})}
	return sorted.each(func(r *itemRun) error { return r.lock(ctx) })
}

func (s *set) prepare(ctx context.Context) error {
	return s.each(func(r *itemRun) error { return r.prepare(ctx) })
}

func (s *set) preHooks(ctx context.Context) error {
	return s.each(func(r *itemRun) error { return r.runPreHook(ctx) })
}

func (s *set) quiesce(ctx context.Context) error {
	return s.each(func(r *itemRun) error {
		if err := r.quiesce(ctx); err != nil {
			return r.failed(ctx, events.StepCommit, r.orGone(ctx, err), "quiesce container %s", r.Item.Name)
		}
		return nil
	})
}

// commitsAtOnce bounds the commits of a set that run at a time. All containers
// stand until the last one ends.
const commitsAtOnce = 4

func (s *set) commit(ctx context.Context) error {
	began := time.Now()
	errs := make([]error, len(s.runs))
	slots := make(chan struct{}, commitsAtOnce)
	var all sync.WaitGroup
	for i, r := range s.runs {
		r.manifest.SnapshotTime = began.UTC()
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = panics.Catch(func() error { return r.commit(ctx, false) })
			r.durations.Commit = time.Since(began).Milliseconds()
		})
	}
	all.Wait()
	for i, r := range s.runs {
		if err := errs[i]; err != nil {
			return memberError{r, r.failed(ctx, events.StepCommit, r.orGone(ctx, err), "commit container %s", r.Item.Name)}
		}
	}
	return nil
}

// letGo has all containers run again, the last one first. Only then are the
// commands after the snapshot run.
func (s *set) letGo(ctx context.Context) {
	var back []*itemRun
	for _, r := range slices.Backward(s.runs) {
		if !r.isRecorded() || r.isLost() {
			continue
		}
		if r.worse = r.bringBack(ctx); r.worse == nil {
			back = append(back, r)
		} else if ctx.Err() == nil {
			r.Log.Error("a container of a set does not run again", zap.String("container", r.Item.Name), zap.Error(r.worse))
		}
	}
	for _, r := range back {
		r.letGo(ctx)
	}
}

// prove proves by the Engine's account that all containers stood still from the
// moment that the last one was quiesced to the moment that the last commit
// ended, and makes the first the time of all.
func (s *set) prove(ctx context.Context) error {
	stands := map[*itemRun]stand{}
	var quiesced, committed time.Time
	err := s.each(func(r *itemRun) error {
		if r.worse != nil || r.Item.Quiesce == events.QuiesceNone {
			return r.worse
		}
		stood, err := r.stood(ctx)
		stands[r] = stood
		quiesced, committed = latest(quiesced, stood.Began), latest(committed, stood.CommittedAt)
		return err
	})
	if err != nil {
		return err
	}
	return s.each(func(r *itemRun) error {
		if !quiesced.IsZero() {
			r.manifest.SnapshotTime = quiesced.UTC()
		}
		stood, proven := stands[r]
		if !proven {
			return nil
		}
		r.manifest.NotRunningMillis = r.account.notRunning(stood)
		return r.stoodUntil(ctx, stood, committed)
	})
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// stoodUntil is the error of a container that ran while others of its set were
// committed. One that stood before, and not for our sake, may be let go by its
// user at any time, and must be as it was.
func (r *itemRun) stoodUntil(ctx context.Context, s stand, until time.Time) error {
	ok := r.account.stoodUntil(s, until)
	if ok && s.Began.IsZero() {
		now, err := r.Engine.Inspect(ctx, r.Item.ID)
		if err != nil {
			return r.failed(ctx, events.StepCommit, err, "inspect container %s", r.Item.Name)
		}
		ok = now.State == r.before.State && now.StartedAt.Equal(r.before.StartedAt)
	}
	if ok {
		return nil
	}
	return r.notQuiesced(ctx, errors.New("it may have run while others of its set were committed"))
}

// fail ends all members for what happened to one of them.
func (s *set) fail(ctx context.Context, err error) {
	culprit, _ := errors.AsType[memberError](err)
	for _, r := range s.runs {
		switch {
		case r.worse != nil:
			r.finish(ctx, r.worse)
		case r == culprit.run:
			r.finish(ctx, culprit.error)
		default:
			r.finish(ctx, notTogether(r.Item.Item, fmt.Errorf("container %s of its set was not: %w", culprit.run.Item.Name, culprit.error), true))
		}
	}
}

// NotTogether is the error of an item that is not captured, since another one of
// its set could not be.
func NotTogether(item events.Item, why error) *ItemError {
	return notTogether(item, why, true)
}

func notTogether(item events.Item, why error, retryable bool) *ItemError {
	return &ItemError{Step: events.StepCommit, Code: events.CodeNotTogether, Retryable: retryable,
		Err: fmt.Errorf("%s %s was not captured: %w", item.Kind, item.Name, why)}
}

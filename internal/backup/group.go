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
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/quiesce"
	"holdfast.io/holdfast/internal/stall"
)

// group is the containers that are captured at one point in time: one or more.
type group struct {
	*Runner
	all   []*attempt
	watch *stall.Watchdog
	// until is when the last volume was read that is read while the containers are
	// quiesced, or the last commit had ended that the Engine's events do not tell from
	// others, by the Engine's clock; zero if neither is.
	until time.Time
}

// memberError is the error of one member of a group.
type memberError struct {
	member *attempt
	error
}

func (e memberError) Unwrap() error { return e.error }

// capture captures all containers of the group, or ends them all.
func (g *group) capture(ctx context.Context) {
	ctx, endWatch := context.WithCancel(ctx)
	defer endWatch()
	waiting, err := g.find(ctx)
	if err == nil && len(waiting) < len(g.all) {
		for _, r := range waiting {
			why := errors.New("others of its group were stored by an earlier attempt, and their time has passed")
			r.finish(ctx, notTogether(r.Item.Item, why, false))
		}
		return
	}
	for _, stage := range []func(context.Context) error{g.lock, g.prepare, g.preHooks} {
		if err == nil {
			err = stage(ctx)
		}
	}
	if err == nil {
		err = g.hold(ctx)
	}
	g.release(ctx)
	if err != nil {
		g.fail(ctx, err)
	}
}

// each does something with every member in turn, until one fails.
func (g *group) each(do func(r *attempt) error) error {
	for _, r := range g.all {
		if err := do(r); err != nil {
			return memberError{r, err}
		}
	}
	return nil
}

// find returns the members that no earlier attempt has stored.
func (g *group) find(ctx context.Context) (waiting []*attempt, err error) {
	err = g.each(func(r *attempt) error {
		if err := plannedFailure(r.Task); err != nil {
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

// lock takes the containers in one order for all groups, so that no two wait for
// each other.
func (g *group) lock(ctx context.Context) error {
	sorted := &group{all: slices.SortedFunc(slices.Values(g.all), func(a, b *attempt) int {
		return strings.Compare(a.Item.ID, b.Item.ID)
	})}
	return sorted.each(func(r *attempt) error { return r.lock(ctx) })
}

// prepare prepares all members. Only the pause of a single container that nothing
// else has to be read from can be left to its commit.
func (g *group) prepare(ctx context.Context) error {
	return g.each(func(r *attempt) error {
		return r.prepare(ctx, len(g.all) == 1 && r.Item.Quiesce == events.QuiescePause && !r.readsQuiesced() && !r.about.HidesCommits)
	})
}

func (g *group) preHooks(ctx context.Context) error {
	return g.each(func(r *attempt) error { return r.runPreHook(ctx) })
}

// hold holds the containers still, commits them, and proves that they did not run
// meanwhile. A single one whose commit pauses it is tried up to three times: another
// commit of somebody else, or a file that shrinks, may be in the way of one.
func (g *group) hold(ctx context.Context) error {
	single := len(g.all) == 1 && g.all[0].container.PausedByCommit()
	for n := 1; ; n++ {
		err := g.once(ctx)
		if err == nil || !single || n == quiesce.Tries || !quiesce.CanRetry(ctx, err) || g.all[0].resumeErr != nil {
			return err
		}
		r := g.all[0]
		r.Log.Warn("the container could not be captured; it is retried", zap.String("container", r.Item.Name), zap.Int("try", n), zap.Error(err))
		r.retried, r.imageID = true, ""
		if _, werr := r.container.Watch(ctx); werr != nil {
			return err
		}
	}
}

// once holds the containers still, commits them, reads their volumes, resumes them, and
// proves that they did not run meanwhile.
func (g *group) once(ctx context.Context) error {
	began := time.Now()
	err := g.each(func(r *attempt) error { return r.hold(ctx) })
	if err == nil {
		err = g.commit(ctx)
	}
	for _, r := range g.all {
		r.durations.Commit = time.Since(began).Milliseconds()
	}
	if err == nil {
		err = g.readVolumes(ctx)
	}
	rerr := g.resume(ctx, err == nil)
	if err == nil {
		err = rerr
	}
	if err == nil {
		err = g.prove(ctx)
	}
	return err
}

// membersAtOnce bounds for how many members at a time something is done that takes
// long. All containers are quiesced until the last one has it behind it.
const membersAtOnce = 4

// beside does something with all members, several at a time, and returns the error of
// the first that failed.
func (g *group) beside(do func(r *attempt) error) error {
	errs := make([]error, len(g.all))
	slots := make(chan struct{}, membersAtOnce)
	var all sync.WaitGroup
	for i, r := range g.all {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			errs[i] = panics.Catch(func() error { return do(r) })
		})
	}
	all.Wait()
	for i, r := range g.all {
		if errs[i] != nil {
			return memberError{r, errs[i]}
		}
	}
	return nil
}

func (g *group) commit(ctx context.Context) error {
	began := time.Now()
	for _, r := range g.all {
		r.manifest.SnapshotTime = began.UTC()
	}
	return g.beside(func(r *attempt) error { return r.commit(ctx) })
}

// readVolumes stores the volumes that are read while the containers are quiesced.
func (g *group) readVolumes(ctx context.Context) (err error) {
	if !slices.ContainsFunc(g.all, func(r *attempt) bool { return r.readsQuiesced() || r.about.HidesCommits }) {
		return nil
	}
	err = g.beside(func(r *attempt) error {
		if !r.readsQuiesced() {
			return nil
		}
		return r.readVolumes(ctx)
	})
	if err != nil {
		return err
	}
	// By the Engine's own clock, as its events are.
	if g.until, err = g.Engine.Time(ctx); err != nil {
		return memberError{g.all[0], failure.At(events.StepVolumes, err, "ask the Engine for its time")}
	}
	return nil
}

// resumeTurn is how long the members before it wait for a member that is resumed.
const resumeTurn = 5 * time.Second

// resume resumes all containers, the last one first. A member that cannot be resumed
// at once is retried beside the others: they must not stay paused or stopped because
// of it.
// What the Engine may still be doing is left to the Sweeper.
func (g *group) resume(ctx context.Context, committed bool) error {
	var all sync.WaitGroup
	for _, r := range slices.Backward(g.all) {
		if r.pending() {
			continue
		}
		imageID := r.imageID
		if !committed {
			imageID = ""
		}
		resumed := make(chan struct{})
		all.Go(func() {
			defer close(resumed)
			r.resumeErr = panics.Catch(func() error { return r.resume(ctx, imageID) })
		})
		select {
		case <-resumed:
		case <-time.After(resumeTurn):
		}
	}
	all.Wait()
	for _, r := range slices.Backward(g.all) {
		if r.resumeErr != nil {
			return memberError{r, r.resumeErr}
		}
	}
	return nil
}

// release runs the commands after the snapshot and lets others have the containers
// that run again, the last one first.
func (g *group) release(ctx context.Context) {
	for _, r := range slices.Backward(g.all) {
		if r.isRecorded() && !r.pending() && r.resumeErr == nil {
			r.release(ctx)
		}
	}
}

// prove proves by the Engine's events that all containers were quiesced from the
// moment that the last one was to the moment that the last commit ended and the last
// volume was read, and makes the first the time of all.
func (g *group) prove(ctx context.Context) error {
	proofs := make([]quiesce.Proof, len(g.all))
	var quiesced time.Time
	until := g.until
	for i, r := range g.all {
		proof, notRunning, err := r.container.Prove(r.imageID)
		if err != nil {
			return memberError{r, failure.At(events.StepCommit, err, "container %s", r.Item.Name)}
		}
		proofs[i], r.manifest.NotRunningMillis = proof, notRunning
		quiesced, until = latest(quiesced, proof.Began), latest(until, proof.CommittedAt)
	}
	for i, r := range g.all {
		if !quiesced.IsZero() {
			r.manifest.SnapshotTime = quiesced.UTC()
		}
		if len(g.all) == 1 && g.until.IsZero() {
			continue // it was the last thing that had to be done
		}
		if err := r.container.StayedUntil(ctx, proofs[i], until); err != nil {
			return memberError{r, failure.At(events.StepCommit, err, "container %s", r.Item.Name)}
		}
	}
	return nil
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// fail ends all members for what happened to one of them.
func (g *group) fail(ctx context.Context, err error) {
	culprit, _ := errors.AsType[memberError](err)
	why := culprit.member.itemError(ctx, culprit.error)
	for _, r := range g.all {
		switch {
		case r.resumeErr != nil:
			r.finish(ctx, r.resumeErr)
		case r == culprit.member:
			r.finish(ctx, why)
		default:
			r.finish(ctx, NotTogether(ctx, r.Item.Item, fmt.Errorf("container %s of its group was not: %w", culprit.member.Item.Name, why)))
		}
	}
}

// NotTogether is the error of an item that is not captured, since another one of
// its group could not be. If ctx has ended, that is the reason for each of them.
func NotTogether(ctx context.Context, item events.Item, why error) *failure.Error {
	if ctx.Err() != nil {
		return itemError(ctx, failure.At(events.StepCommit, context.Cause(ctx), "capture %s %s", item.Kind, item.Name))
	}
	return notTogether(item, why, true)
}

func notTogether(item events.Item, why error, retryable bool) *failure.Error {
	return &failure.Error{Step: events.StepCommit, Code: events.CodeNotTogether, Retryable: retryable,
		Err: fmt.Errorf("%s %s was not captured: %w", item.Kind, item.Name, why)}
}

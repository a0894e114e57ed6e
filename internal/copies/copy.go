// Package copies puts recovery points of one sink into another. A copy is the same point:
// its manifest says what it said, but for where its artifacts lie and how they are stored
// there. Every stored byte is read once, and proven while it is written.
package copies

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
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// Runner copies points. It may be used by several goroutines; the fields are not changed
// once it is in use.
type Runner struct {
	// Sweeper keeps what a copy may leave behind, and undoes what the copy could not undo
	// itself.
	Sweeper *undo.Sweeper
	// StallTimeout is how long a point may go without a byte read or written before it is
	// given up with [stall.ErrStalled]. 0 means for ever.
	StallTimeout time.Duration
	Log          *zap.Logger
}

// Sink is a sink, and the name that the configuration has for it.
type Sink struct {
	Name string
	sink.Sink
}

// Unwrap returns the sink, for [sink.As].
func (s Sink) Unwrap() sink.Sink { return s.Sink }

// Task is one point of one attempt at one job.
type Task struct {
	Job string
	// Attempt counts the attempts at the job, from 1. No two have the same number, as
	// what a copy writes is named by it.
	Attempt uint64
	Item
	From, To Sink
	// Ledger gets the undo record once, before anything is written. It may be nil.
	Ledger undo.Ledger
	// Progress is told the bytes read so far, their total, and the bytes written. It must
	// be quick.
	Progress func(step events.Step, read, total, stored int64)
}

// Result is a point that lies in both sinks.
type Result struct {
	// Manifest is that in the sink that was copied to.
	Manifest *point.Manifest
	// AlreadyThere is set if it was there before this attempt.
	AlreadyThere bool
	// Protected is set if it is protected there, as it is in the other one.
	Protected bool
	Durations events.CopyDurations
	Warnings  []events.Warning
}

// Run copies a point with the mark that protects it. It returns when the copy is durable
// and nothing temporary is left. If the point is there already, because an earlier attempt
// copied it or somebody else, that is the result. It holds a few megabytes, however large
// the point is. An item that the plan says will fail does so at once; it needs no sinks.
// An error is a *failure.Error, and then nothing of the point is to be seen in the sink,
// or all of it.
//
// When ctx ends, Run returns within a second, whatever the sinks do. What it could not
// undo by then, or at all, is left to the Sweeper.
func (r *Runner) Run(ctx context.Context, t Task) (*Result, error) {
	if t.Code != "" {
		return nil, failure.New(events.StepPlan, t.Code, "%s", t.Message)
	}
	a := &attempt{Runner: r, Task: t, watch: &stall.Watchdog{}, step: events.StepRead}
	ctx, stop := a.watch.Guard(ctx, r.StallTimeout)
	defer stop()
	var err error
	ended := stall.Await(ctx, func() { err = panics.Catch(func() error { return a.run(ctx) }) })
	a.leave(ended)
	if !stall.HasEnded(ended) {
		return nil, meanings.Of(ctx, a.at(), fmt.Errorf("copy point %s: %w", t.Point, context.Cause(ctx)))
	}
	if err != nil {
		return nil, meanings.Of(ctx, a.at(), err)
	}
	return &a.result, nil
}

// attempt is one attempt at one point. One goroutine works on it, and its caller may stop
// waiting; what is below mu is for both.
type attempt struct {
	// What is given, and does not change.
	*Runner
	Task
	watch *stall.Watchdog

	// What the goroutine knows.
	manifest *point.Manifest            // as it is read
	plain    map[string]string          // digests of what it shares encrypted, by those of the blobs; nil until they are asked for
	unopened bool                       // no identity opens that
	copied   map[string]events.Artifact // what it shares as it lies in the other sink, by the digests here
	staging  sink.Staging
	total    int64 // bytes
	own      int64 // bytes of it that no other point shares
	result   Result

	mu               sync.Mutex
	readSo, storedSo int64 // bytes
	step             events.Step
	entry            *undo.Entry // nil if nothing is to be undone, or the Sweeper has it
	left             bool        // nobody waits for the goroutine any more
}

// run copies the point, unless it is there.
func (a *attempt) run(ctx context.Context) error {
	m, protected, err := a.look(ctx)
	if err != nil {
		return err
	}
	a.result.Manifest, err = a.there(ctx)
	switch {
	case errors.Is(err, sink.ErrNotFound):
		err = a.recorded(ctx, m.Item, func() error { return a.store(ctx, m) })
	case err == nil:
		a.result.AlreadyThere = true
		err = a.complete(ctx, a.result.Manifest)
	}
	if err != nil {
		return err
	}
	return a.protect(ctx, protected)
}

// complete has a point that is there already have all that it shares with others: whoever
// copied it may have died before he looked, or something has gone since.
func (a *attempt) complete(ctx context.Context, m *point.Manifest) error {
	err := blob.Intact(ctx, a.To, m)
	if errors.Is(err, blob.ErrRemoved) {
		if err = a.recorded(ctx, m.Item, func() error { return a.storeBlobs(ctx, m) }); err != nil {
			return err
		}
		err = blob.Intact(ctx, a.To, m)
	}
	if err != nil {
		return failure.At(events.StepSave, failure.FromSink(err), "see whether point %s is whole in sink %s", a.Point, a.To.Name)
	}
	return nil
}

// storeBlobs copies what a point that is there lacks of what points share.
func (a *attempt) storeBlobs(ctx context.Context, m *point.Manifest) error {
	if err := a.stage(ctx); err != nil {
		return err
	}
	for _, of := range m.Shared() {
		if _, err := a.blob(ctx, of); err != nil {
			return failure.At(events.StepRead, err, "point %s of %s %s lies in sink %s without %s, which is not copied from sink %s",
				a.Point, a.Kind, a.Item.Name, a.To.Name, of.Key, a.From.Name)
		}
	}
	if _, err := blob.Lock(ctx, a.To, m); err != nil { // what was stored anew
		return failure.At(events.StepSave, failure.FromSink(err), "complete point %s in sink %s", a.Point, a.To.Name)
	}
	return nil
}

// look reads what the point is, and who protects it; nil if nobody does.
func (a *attempt) look(ctx context.Context) (*point.Manifest, *point.Protected, error) {
	m, err := point.Read(ctx, a.From, a.Dir)
	if errors.Is(err, sink.ErrNotFound) {
		return nil, nil, a.gone()
	}
	if err != nil {
		return nil, nil, failure.At(events.StepRead, failure.FromSink(err), "read the manifest of point %s in sink %s", a.Point, a.From.Name)
	}
	if err := a.maySign(m); err != nil {
		return nil, nil, err
	}
	marks := point.ReadMarks(ctx, a.From, a.Dir, sink.RemovedName, sink.ProtectedName)
	if marks.IsRemoved() {
		return nil, nil, a.gone()
	}
	if err := marks.Unread[sink.ProtectedName]; err != nil {
		return nil, nil, failure.At(events.StepRead, failure.FromSink(err),
			"point %s is protected in sink %s, and it cannot be read by whom: protect it again", a.Point, a.From.Name)
	}
	a.total, a.own = m.Size(), m.OwnSize()
	return m, marks.Protected, nil
}

// there reads the manifest of the copy. It reports sink.ErrNotFound if there is none.
func (a *attempt) there(ctx context.Context) (*point.Manifest, error) {
	m, err := point.Read(ctx, a.To, a.Dir)
	if err != nil && !errors.Is(err, sink.ErrNotFound) {
		return nil, failure.At(events.StepSave, failure.FromSink(err), "see whether point %s is in sink %s already", a.Point, a.To.Name)
	}
	return m, err
}

// recorded has something done that may leave something staged, and undoes that.
func (a *attempt) recorded(ctx context.Context, item events.Item, do func() error) error {
	if err := a.begin(ctx, item); err != nil {
		return err
	}
	defer a.finish(ctx)
	defer measure(&a.result.Durations.Copy)()
	return do()
}

// stage begins the copy in the sink. It reports sink.ErrExists as it is.
func (a *attempt) stage(ctx context.Context) (err error) {
	a.staging, err = sink.StageAtLeast(ctx, a.To, a.Dir, a.name(), a.own)
	if err != nil && !errors.Is(err, sink.ErrExists) {
		err = failure.At(events.StepSave, failure.FromSink(err), "store point %s in sink %s", a.Point, a.To.Name)
	}
	return err
}

// store copies the artifacts, and has the point appear.
func (a *attempt) store(ctx context.Context, m *point.Manifest) error {
	if doubt := m.Signed.Doubt(); doubt != "" {
		a.warn(events.WarningUntrusted, "point %s in sink %s: %s; this worker signs its copy", a.Point, a.From.Name, doubt)
	}
	err := a.stage(ctx)
	if errors.Is(err, sink.ErrExists) {
		return a.takeTheirs(ctx)
	}
	if err != nil {
		return err
	}
	step.At(ctx, step.Staged)
	a.progress(events.StepSave)
	to := *m
	to.Signature = ""
	if to.Artifacts, err = a.artifacts(ctx, m); err != nil {
		return err
	}
	if err := a.unseal(ctx, &to); err != nil {
		return err
	}
	step.At(ctx, step.Saved)
	return a.publish(ctx, &to)
}

// artifacts copies the artifacts of the point.
func (a *attempt) artifacts(ctx context.Context, m *point.Manifest) (all []events.Artifact, err error) {
	a.manifest, a.copied = m, map[string]events.Artifact{}
	for _, of := range recipesLast(m.Artifacts) {
		if seal.Of(a.To).Encrypts() && isOpen(&of) {
			a.read(int(of.Size)) // it is done with
			continue
		}
		as, err := a.artifact(ctx, of)
		if err != nil {
			return nil, failure.At(events.StepRead, err, "point %s of %s %s is not copied: %s in sink %s", a.Point, a.Kind, a.Item.Name,
				strings.TrimPrefix(of.Key, a.Dir+"/"), a.From.Name)
		}
		if point.IsShared(&of) {
			a.copied[of.Digest] = as
		}
		all = append(all, as)
	}
	return all, nil
}

// recipesLast returns artifacts in their order, but for the recipes of volumes, which come after
// what they name.
func recipesLast(all []events.Artifact) []events.Artifact {
	rank := func(a events.Artifact) int {
		if a.MediaType == point.MediaTypePieces {
			return 1
		}
		return 0
	}
	return slices.SortedStableFunc(slices.Values(all), func(a, b events.Artifact) int { return rank(a) - rank(b) })
}

// maySign keeps what nobody has signed who is trusted where it is read from being trusted
// where it is copied to, as this worker signs it there.
func (a *attempt) maySign(m *point.Manifest) error {
	if m.Signed.Trusted {
		return nil
	}
	if _, err := sign.Of(a.To).Trust.Check(nil, nil); err != nil {
		return failure.New(events.StepRead, events.CodeUnsuitable,
			"point %s of %s %s is not copied to sink %s, which has signers: in sink %s it is not signed by anybody who is trusted there; "+
				"check it, and set the signers of that sink", a.Point, a.Kind, a.Item.Name, a.To.Name, a.From.Name)
	}
	return nil
}

// publish has the copy appear, signed by this worker: with what the manifest says of the
// point, and where its artifacts lie in this sink.
func (a *attempt) publish(ctx context.Context, m *point.Manifest) error {
	defer measure(&a.result.Durations.Publish)()
	a.progress(events.StepPublish)
	err := blob.Publish(ctx, a.To, a.staging, m)
	switch {
	case errors.Is(err, sink.ErrExists):
		return a.takeTheirs(ctx)
	case errors.Is(err, point.ErrUnwritable):
		return &failure.Error{Step: events.StepPublish, Code: events.CodeInternal, Err: err}
	case err != nil:
		return failure.At(events.StepPublish, failure.FromSink(err), "publish point %s in sink %s", a.Point, a.To.Name)
	}
	step.At(ctx, step.Published)
	if err := blob.Settle(ctx, a.To, a.Dir, m); err != nil {
		return failure.At(events.StepPublish, failure.FromSink(err), "copy point %s to sink %s", a.Point, a.To.Name)
	}
	a.result.Manifest = m
	return nil
}

// takeTheirs takes the copy that somebody else was first to publish.
func (a *attempt) takeTheirs(ctx context.Context) (err error) {
	a.result.AlreadyThere = true
	if a.result.Manifest, err = a.there(ctx); err != nil {
		return failure.At(events.StepSave, failure.FromSink(err), "read the manifest of point %s in sink %s", a.Point, a.To.Name)
	}
	if err := blob.Intact(ctx, a.To, a.result.Manifest); err != nil { // he may die before he looks
		return failure.At(events.StepSave, failure.FromSink(err), "see whether point %s is whole in sink %s", a.Point, a.To.Name)
	}
	return nil
}

// protect has the copy protected as the point is; nil stands for that it is not.
func (a *attempt) protect(ctx context.Context, as *point.Protected) error {
	if as == nil {
		return nil
	}
	if there := point.ReadMarks(ctx, a.To, a.Dir, sink.ProtectedName); there.Protected == nil {
		if err := as.Write(ctx, a.To, a.Dir); err != nil {
			return failure.At(events.StepPublish, failure.FromSink(err), "protect point %s in sink %s", a.Point, a.To.Name)
		}
		step.At(ctx, step.Marked)
	}
	a.result.Protected = true
	return nil
}

// Package restore makes a container, an image or a volume of a point again: it holds
// points against a host first, and then restores each as a whole or not at all.
package restore

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/volume"
)

// Repository is the repository of the images that are loaded from points.
const Repository = "holdfast/restored"

// Reference is the name of the image of a point: repository:tag.
func Reference(pointID string) string { return Repository + ":" + pointID }

// Volumes fills and empties volumes.
type Volumes interface {
	Ready(ctx context.Context) error
	Write(ctx context.Context, name string, to helper.Place, content io.Reader) (volume.Report, error)
	IsEmpty(ctx context.Context, name string, at helper.Place) (bool, error)
	Clear(ctx context.Context, name string, at helper.Place) error
}

// Kept is the point that has what a volume holds.
type Kept struct {
	// Point is its id, and Dir its folder in the sink.
	Point, Dir string
}

// Runner restores points. It may be used by several goroutines; the fields are not
// changed once it is in use.
type Runner struct {
	Engine engine.Engine
	// Sweeper undoes what an item could not undo itself. Its Engine is the same.
	Sweeper *undo.Sweeper
	Volumes Volumes
	Log     *zap.Logger
}

// Task is one item of one attempt at one job.
type Task struct {
	// Host is the host's id.
	Host string
	Job  string
	// Attempt counts the attempts at the job, from 1.
	Attempt uint64
	Item    Item
	// SinkName is the name that the configuration has for Sink.
	SinkName string
	Sink     sink.Sink
	// Gate is how long a started container must run.
	Gate time.Duration
	// Keep stores what a volume holds in Sink, before that is replaced. The Ledger gets
	// the undo record of that.
	Keep func(ctx context.Context, volume string, l undo.Ledger) (Kept, error)
	// Ledger gets the item's undo record before anything is done, and again whenever it
	// names more.
	Ledger undo.Ledger
	// Progress is told how much of the point was read. It must be quick.
	Progress func(step events.Step, read, total, stored int64)
}

// undoBound is how long an item waits for its own undoing before it leaves that to the
// Sweeper.
const undoBound = time.Minute

// Run restores one point, and returns when that is done and in the ledger: from then on
// nothing of it is undone. A point that an earlier attempt has restored is not restored
// again; see [undo.Record.Done]. An error is a *failure.Error, and means that the Engine is as
// it was, or will be as soon as the Sweeper can see to that.
func (r *Runner) Run(ctx context.Context, t Task) (*events.RestoreItemCompleted, error) {
	if t.Item.Code != "" {
		return nil, failure.New(events.StepPlan, t.Item.Code, "%s", t.Item.Message)
	}
	a := &attempt{Runner: r, Task: t, release: func() {}, result: events.RestoreItemCompleted{
		Job: t.Job, Host: t.Host, Item: t.Item.Item, Point: t.Item.Point, Sink: t.SinkName, As: t.Item.As, Differences: []events.Difference{},
		Warnings: t.Item.Warnings,
	}}
	err := panics.Catch(func() error { return a.run(ctx) })
	if err == nil {
		return &a.result, nil
	}
	failure := itemError(ctx, err)
	a.undo(ctx, failure)
	return nil, failure
}

// never: the Engine does nothing more that it was told.
func never() bool { return false }

// undo has the Sweeper undo what the attempt did, and waits a while for that.
func (a *attempt) undo(ctx context.Context, failure *failure.Error) {
	release := a.release
	if a.entry == nil {
		release()
		return
	}
	for _, v := range a.result.Volumes {
		if v.Safety != "" {
			failure.Err = fmt.Errorf("%w; what volume %s held is stored as point %s", failure.Err, v.Name, v.Safety)
		}
	}
	began := time.Now()
	interrupted := ctx.Err() != nil // the Engine may go on with what it was told
	a.entry.HandOver(release, undo.Ended, func() bool { return interrupted })
	bounded, cancel := context.WithTimeout(ctx, undoBound)
	defer cancel()
	err := a.Sweeper.Undone(bounded, a.recordID(a.Attempt))
	if !a.stopped.IsZero() {
		failure.NotRunning = time.Since(a.stopped)
	}
	anyStopped := !a.stopped.IsZero() || slices.ContainsFunc(a.dependants, func(d *dependant) bool { return !d.stopped.IsZero() })
	if err != nil && anyStopped {
		failure.Err = fmt.Errorf("%w; what was to be replaced may not run yet, and is put back as soon as the Engine allows", failure.Err)
	}
	a.Log.Info("a restore that failed is undone", zap.String("point", a.Item.Point), zap.Duration("after", time.Since(began)), zap.Error(err))
}

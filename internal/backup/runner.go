// Package backup turns one container, image or volume into a recovery point, and reports
// errors that say at which step an item failed and whether a retry can help.
package backup

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/prime"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
)

// Runner turns items into points. It may be used by several goroutines; the
// fields are not changed once it is in use.
type Runner struct {
	Engine engine.Engine
	// Sweeper keeps what an item may leave behind, and undoes what the item could not
	// undo itself. Its Engine is the same.
	Sweeper *undo.Sweeper
	// Transport moves images to the sink. Its Engine is the same.
	Transport *transport.Save
	// Push moves the snapshots of containers to sinks in layers, where it can; nil for
	// never. Its Engine is the same.
	Push *transport.Push
	// Bases hears of what the Engine could push, and its classic store compresses for that;
	// nil for nobody.
	Bases Bases
	// Direct does so past the worker, where the sink lies in a registry; nil for never. Its Engine
	// is the same.
	Direct *transport.Direct
	// Volumes moves the content of volumes and bind mounts to the sink.
	Volumes *transport.Volumes
	// StallTimeout is how long an item may go without a byte moved or a step passed
	// before it is given up with [stall.ErrStalled]. 0 means for ever.
	StallTimeout time.Duration
	// HooksAllowed lets the commands run that the labels of containers name.
	HooksAllowed bool
	// HookOutput has the last line quoted that a failing command wrote.
	HookOutput bool
	// Version is the program's, for the manifest.
	Version string
	Log     *zap.Logger
}

// Bases hears how the layers came to a sink on which the snapshots of containers are based.
type Bases interface {
	// Saved says that the Engine has not pushed them.
	Saved(b prime.Base)
	// Pushed says that it has, or was asked for them and left them out.
	Pushed(diffIDs []string)
}

// Task is one item of one attempt at one job.
type Task struct {
	Host string
	Job  string
	// Attempt counts the attempts at the job, from 1. No two have the same number,
	// as what an attempt makes is named by it.
	Attempt uint64
	Request point.Request
	Point   string // the point's id
	Item    events.PlannedItem
	// Hot has the volumes of a container read after it runs again.
	Hot bool
	// IgnoredLabels are labels of the container whose hooks do not count.
	IgnoredLabels []string
	// Legs are the sinks that the point goes to: at least one, each once.
	Legs []Leg
	Tags map[string]string
	// Ledger gets the item's undo record once, before anything is done to the container
	// or stored. It may be nil.
	Ledger undo.Ledger
	// Progress is told the bytes read from the Engine so far, the Engine's
	// estimate of their total, and the bytes stored. It must be quick.
	Progress func(step events.Step, read, total, stored int64)
}

// Leg is a sink that the point of an item goes to.
type Leg struct {
	// Sink is the name that the configuration has for it.
	Sink string
	Open func(ctx context.Context) (sink.Sink, error)
	// MayHave is set if an earlier attempt may have stored the point there. Then nothing is
	// captured before the sink has said that it has not: a point is one and the same in all
	// sinks.
	MayHave bool
	// Expected returns how many bytes the point will have there, about; 0 if that is not
	// known. It is nil for that. A sink that has a quota refuses what goes beyond before
	// anything is done.
	Expected func(ctx context.Context, s sink.Sink) int64
}

// Outcome is what came of an item in one of its sinks. Exactly one member is set.
type Outcome struct {
	Result *Result
	// Err is a *failure.Error.
	Err error
}

// Result is an item that is stored durably in a sink.
type Result struct {
	// Manifest is that in the sink.
	Manifest *point.Manifest
	Dir      string // the point's folder in the sink
	// Hooks are the commands that were run inside the container; none for a point
	// that an earlier attempt stored.
	Hooks []events.HookResult
	// Warnings are those of the manifest, and what came up after it was stored.
	Warnings  []events.Warning
	Durations events.Durations
	// Unchanged is set if the image has the layers of the item's point before it in the sink,
	// and none of them was stored.
	Unchanged bool
}

// Run backs one item up, and returns what came of it in each of its sinks, in the order of
// the task, when all that will be stored is stored durably and nothing temporary is left.
// The Engine is read once for all sinks; an image is read once more for a sink in layers in which a
// layer was taken for another one of its size. A sink that fails is left out, and so is one that the
// others would have to wait for; the last one that is left is waited for. If one of them has the
// point already, because an earlier attempt stored it, the Engine is not
// asked, and the others do not get it: it is for the caller to copy the point where it
// lacks. An item that the plan says will fail does so at once; it needs no sink.
//
// When ctx ends, Run returns within a second, whatever the Engine and the sinks
// do. What it could not undo by then, or at all, is left to the Sweeper, which
// keeps the container from others for as long; and it never hides a point that
// is stored.
func (b *Runner) Run(ctx context.Context, t Task) []Outcome {
	if err := plannedFailure(t); err != nil {
		return t.failed(err)
	}
	return b.Capture(ctx, []Task{t})[0].Store(ctx)
}

// failed are the outcomes of an item that is stored nowhere.
func (t *Task) failed(err error) []Outcome {
	return slices.Repeat([]Outcome{{Err: err}}, len(t.Legs))
}

// plannedFailure is the error of an item that is known from the plan to fail.
func plannedFailure(t Task) error {
	if t.Item.Code == "" {
		return nil
	}
	return &failure.Error{Step: events.StepPlan, Code: t.Item.Code, Err: errors.New(t.Item.Message)}
}

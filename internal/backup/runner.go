// Package backup turns one container, image or volume into a recovery point, and reports
// errors that say at which step an item failed and whether a retry can help.
package backup

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/point"
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
	// SinkName is the name that the configuration has for Sink.
	SinkName string
	Sink     sink.Sink
	Tags     map[string]string
	// Ledger gets the item's undo record once, before anything is done to the container
	// or stored. It may be nil.
	Ledger undo.Ledger
	// Progress is told the bytes read from the Engine so far, the Engine's
	// estimate of their total, and the bytes stored. It must be quick.
	Progress func(step events.Step, read, total, stored int64)
}

// Result is an item that is stored durably.
type Result struct {
	Manifest *point.Manifest
	Dir      string // the point's folder in the sink
	// Hooks are the commands that were run inside the container; none for a point
	// that an earlier attempt stored.
	Hooks []events.HookResult
	// Warnings are those of the manifest, and what came up after it was stored.
	Warnings  []events.Warning
	Durations events.Durations
}

// Run backs one item up, and returns when it is stored durably and nothing
// temporary is left. If the point is there already, because an earlier attempt
// stored it, that one is the result, and the Engine is not asked. An item that
// the plan says will fail does so at once; it needs no sink. An error is an
// *failure.Error.
//
// When ctx ends, Run returns within a second, whatever the Engine and the sink
// do. What it could not undo by then, or at all, is left to the Sweeper, which
// keeps the container from others for as long; and it never hides a point that
// is stored.
func (b *Runner) Run(ctx context.Context, t Task) (*Result, error) {
	if err := plannedFailure(t); err != nil {
		return nil, err
	}
	return b.Capture(ctx, []Task{t})[0].Store(ctx)
}

// plannedFailure is the error of an item that is known from the plan to fail.
func plannedFailure(t Task) error {
	if t.Item.Code == "" {
		return nil
	}
	return &failure.Error{Step: events.StepPlan, Code: t.Item.Code, Err: errors.New(t.Item.Message)}
}

// Package verify proves recovery points: that what is stored is what was stored, and
// that a container can be started of it.
package verify

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// Sink is what a Runner needs of a sink.
type Sink interface {
	sink.Reader
	sink.Lister
	sink.Marker
	sink.Sharer
}

// Runner verifies points. It may be used by several goroutines; the fields are not
// changed once it is in use.
type Runner struct {
	Engine Engine
	// Sweeper keeps what a drill may leave behind, and undoes what the drill could not
	// undo itself. Its Engine is the same.
	Sweeper *undo.Sweeper
	// StallTimeout is how long a point may go without a byte read or a step passed
	// before it is given up with [stall.ErrStalled]. 0 means for ever.
	StallTimeout time.Duration
	// Version is the program's, for the mark.
	Version string
	Log     *zap.Logger
}

// Task is one point of one attempt at one job.
type Task struct {
	// Host is the host that verifies it.
	Host, Job string
	// Attempt counts the attempts at the job, from 1. No two have the same number, as
	// what a drill makes is named by it.
	Attempt uint64
	Item
	// SinkName is the name that the configuration has for Sink.
	SinkName string
	Sink     Sink
	Level    events.VerifyLevel
	// Users finds the points that refer to a damaged blob; a job has one.
	Users *Users
	// Ledger gets the undo record of a drill once, before anything is done to the
	// Engine. It may be nil.
	Ledger undo.Ledger
	// Progress is told the bytes read from the sink so far, and their total. It must be
	// quick.
	Progress func(step events.Step, read, total, stored int64)
}

// Result is a point that passed.
type Result struct {
	Checked   events.Checked
	Durations events.VerifyDurations
	// Previous is what another job found; the zero value if none verified it.
	Previous events.Verification
	Warnings []events.Warning
}

// Run verifies a point, and writes beside it what came of that. It returns when nothing
// temporary is left. It holds a few megabytes, however large the point is. An item that
// the plan says will fail does so at once; it needs no sink. An error is a *failure.Error: with
// the code point_damaged, not_started or not_healthy for a point that did not pass, and
// for one that could not be verified with another code, and then nothing is written.
//
// When ctx ends, Run returns within a second, whatever the Engine and the sink do. What
// a drill could not undo by then, or at all, is left to the Sweeper.
func (r *Runner) Run(ctx context.Context, t Task) (*Result, error) {
	if t.Code != "" {
		return nil, failure.New(events.StepPlan, t.Code, "%s", t.Message)
	}
	a := &attempt{Runner: r, Task: t, watch: &stall.Watchdog{}, step: events.StepRead}
	ctx, stop := a.watch.Guard(ctx, r.StallTimeout)
	defer stop()
	var result *Result
	var err error
	ended := stall.Await(ctx, func() {
		err = panics.Catch(func() (err error) { result, err = a.run(ctx); return err })
	})
	a.leave(ended)
	if !stall.HasEnded(ended) {
		return nil, meanings.Of(ctx, a.at(), fmt.Errorf("verify point %s: %w", t.Point, context.Cause(ctx)))
	}
	if err != nil {
		return nil, meanings.Of(ctx, a.at(), err)
	}
	return result, nil
}

// attempt is one attempt at one point. One goroutine works on it, and its caller may
// stop waiting; what is below mu is for both.
type attempt struct {
	// What is given, and does not change.
	*Runner
	Task
	watch *stall.Watchdog

	// What the goroutine knows.
	before      *point.Verified   // the mark as it was; nil if there was none
	manifest    *point.Manifest   // nil if it cannot be read
	layers      map[string]string // as proof has them
	found       []events.Finding
	checked     events.Checked
	total, seen int64 // bytes to be read, and read so far
	durations   events.VerifyDurations
	warnings    []events.Warning

	mu      sync.Mutex
	step    events.Step
	entry   *undo.Entry // of a drill; nil if nothing is to be undone, or the Sweeper has it
	pending func() bool // whether the Engine may still do what it was told
	left    bool        // nobody waits for the goroutine any more
}

// run verifies the point, and marks it.
func (a *attempt) run(ctx context.Context) (*Result, error) {
	// A mark that cannot be read is replaced.
	a.before = point.ReadMarks(ctx, a.Sink, a.Dir, sink.VerifiedName).Verified
	began := time.Now()
	err := a.check(ctx)
	a.durations.Read = time.Since(began).Milliseconds()
	if err != nil {
		return nil, err
	}
	step.At(ctx, step.Checked)
	verdict := a.verdict()
	if verdict == nil && a.Level == events.VerifyDrill {
		began := time.Now()
		verdict, err = a.drill(ctx)
		a.durations.Drill = time.Since(began).Milliseconds()
		if err != nil {
			return nil, err
		}
	}
	if err := a.mark(ctx, verdict); err != nil {
		return nil, err
	}
	if verdict != nil {
		return nil, verdict
	}
	r := &Result{Checked: a.checked, Durations: a.durations, Warnings: a.warnings}
	if a.before != nil && a.before.Job != a.Job {
		r.Previous = VerificationOf(a.before)
	}
	return r, nil
}

// verdict returns the error of a point that is not what was stored; nil if it is.
func (a *attempt) verdict() *failure.Error {
	if !a.damaged() {
		return nil
	}
	return &failure.Error{Step: events.StepRead, Code: events.CodePointDamaged, Found: a.found,
		Err: errors.New(Summary(a.Item.Item, a.found))}
}

// Summary says in a sentence or two what is wrong with a point, and what of it can
// still be saved.
func Summary(item events.Item, found []events.Finding) string {
	var bad, good []string
	for _, f := range found {
		if f.Condition == events.ConditionGood {
			good = append(good, path.Base(f.Key))
		} else {
			bad = append(bad, describe(f.Key, f.Message))
		}
	}
	text := fmt.Sprintf("the point of %s %s is damaged: %s", item.Kind, item.Name, strings.Join(bad, "; "))
	if len(good) > 0 {
		text += "; good is " + strings.Join(good, ", ")
	}
	return text
}

// begins says that so many bytes are read from the sink in a step.
func (a *attempt) begins(at events.Step, total int64) {
	a.seen, a.total = 0, total
	a.progress(at)
}

// observe counts what is read from the sink in the step that was begun.
func (a *attempt) observe(n int) {
	a.seen += int64(n)
	a.checked.Bytes += int64(n)
	a.progress(a.at())
}

// describe says what is wrong with the object at key, or with the point itself.
func describe(key, message string) string {
	if key == "" {
		return message
	}
	return path.Base(key) + ": " + message
}

// progress tells that the verification goes on, unless it was left.
func (a *attempt) progress(at events.Step) {
	a.watch.Kick()
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.left {
		a.step = at
		a.Progress(at, a.seen, a.total, 0)
	}
}

// at is the step that was begun last.
func (a *attempt) at() events.Step {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.step
}

func (a *attempt) warn(code events.WarningCode, format string, args ...any) {
	a.warnings = events.Warn(a.warnings, code, format, args...)
}

// keep makes sure that what a drill makes is undone in the end. It reports false if the
// attempt was left.
func (a *attempt) keep(entry *undo.Entry, pending func() bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.left {
		a.entry, a.pending = entry, pending
	}
	return !a.left
}

// forget says that the drill has undone itself.
func (a *attempt) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.entry = nil
}

// leave leaves what a drill made to the Sweeper. ended is closed when nothing of the
// attempt runs in this process any more.
func (a *attempt) leave(ended <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.left = true
	if a.entry != nil {
		a.entry.HandOver(nil, ended, a.pending)
		a.entry = nil
	}
}

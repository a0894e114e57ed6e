package copies

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/undo"
)

// name is the attempt's name in the sink. It has the job in it: a backup, and other jobs
// that copy the point, have attempts at it of their own.
func (a *attempt) name() string { return fmt.Sprintf("%s-%d", a.Job, a.Attempt) }

// begin records what the copy may leave behind, so that whatever happens to this process
// it is undone.
func (a *attempt) begin(ctx context.Context, item events.Item) error {
	id := undo.ID(fmt.Sprintf("%s-%s-%s", a.Point, a.Job, a.To.Name), a.Attempt) // a job may copy it to several sinks
	r := undo.Record{Version: undo.Version, ID: id, Job: a.Job, Attempt: a.Attempt, Item: item,
		Time: time.Now().UTC(), Actions: []undo.Action{{Unstage: &undo.Staging{Sink: a.To.Name, Dir: a.Dir, Name: a.name()}}}}
	resume := a.watch.Suspend() // how long the ledger takes is not the copy's lack of progress
	entry, err := a.Sweeper.Begin(ctx, a.Ledger, r)
	resume()
	if err != nil {
		return failure.At(events.StepSave, fmt.Errorf("%w: %w", errRecord, err), "begin to copy point %s", a.Point)
	}
	step.At(ctx, step.Recorded)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left { // nobody else ends it
		entry.HandOver(nil, undo.Ended, nothing)
		return failure.At(events.StepSave, context.Cause(ctx), "begin to copy point %s", a.Point)
	}
	a.entry = entry
	return nil
}

// finish discards what was not published, and ends the record; or leaves both to the
// Sweeper.
func (a *attempt) finish(ctx context.Context) {
	if a.staging != nil {
		if err := a.staging.Discard(ctx); err != nil {
			a.Log.Warn("what was staged is still there; it will be removed", zap.String("point", a.Point), zap.Error(err))
			a.handOver(undo.Ended)
			return
		}
	}
	a.mu.Lock()
	entry := a.entry
	a.entry = nil
	a.mu.Unlock()
	if entry == nil {
		return // the Sweeper has it
	}
	if err := entry.End(); err != nil {
		a.Log.Warn("the undo record of what is undone is still there", zap.String("point", a.Point), zap.Error(err))
		entry.HandOver(nil, undo.Ended, nothing)
		return
	}
	step.At(ctx, step.RecordGone)
}

// leave is called when nobody waits for the goroutine any more. What is not undone is
// left to the Sweeper; ended is closed when nothing of the attempt runs any more.
func (a *attempt) leave(ended <-chan struct{}) {
	a.mu.Lock()
	a.left = true
	a.mu.Unlock()
	a.handOver(ended)
}

func (a *attempt) handOver(ended <-chan struct{}) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.entry != nil {
		a.entry.HandOver(nil, ended, nothing)
		a.entry = nil
	}
}

// nothing reports that no Engine may still do what it was told: none is.
func nothing() bool { return false }

// read and wrote count bytes. What is unpacked and packed again is read and written by other
// goroutines.
func (a *attempt) read(n int)  { a.count(events.StepSave, int64(n), 0) }
func (a *attempt) wrote(n int) { a.count(events.StepSave, 0, int64(n)) }

// unread returns what has what is read until then not count.
func (a *attempt) unread() func() {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.readSo
	return func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.readSo = before
	}
}

// progress tells that the copy goes on, unless it was left.
func (a *attempt) progress(at events.Step) { a.count(at, 0, 0) }

func (a *attempt) count(at events.Step, read, wrote int64) {
	a.watch.Kick()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.readSo += read
	a.storedSo += wrote
	if !a.left {
		a.step = at
		a.Progress(at, a.readSo, a.total, a.storedSo)
	}
}

// at is the step that was begun last.
func (a *attempt) at() events.Step {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.step
}

func (a *attempt) warn(code events.WarningCode, format string, args ...any) {
	a.result.Warnings = events.Warn(a.result.Warnings, code, format, args...)
}

// measure adds the milliseconds until the returned function is called.
func measure(into *int64) func() {
	began := time.Now()
	return func() { *into += time.Since(began).Milliseconds() }
}

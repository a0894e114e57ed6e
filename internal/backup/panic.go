package backup

import (
	"context"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/stall"
)

// await does work of some attempts as [stall.Await] does. If it panics, they fail,
// and the Sweeper undoes what they hold: a fault costs these items, and not the
// process.
func await(ctx context.Context, runs []*itemRun, work func()) (ended <-chan struct{}) {
	return stall.Await(ctx, func() {
		err := panics.Catch(func() error { work(); return nil })
		if err == nil {
			return
		}
		for _, r := range runs {
			r.panicked(err)
		}
	})
}

// panicked ends an item whose work has panicked.
func (r *itemRun) panicked(err error) {
	e := faultOf(r.step(), err)
	r.Log.Error("an item failed by a fault of Holdfast", zap.String("item", r.Item.Name), zap.Error(err), zap.ByteString("stack", panics.Stack(err)))
	r.mu.Lock()
	r.err = e
	r.mu.Unlock()
	if r.isRecorded() {
		r.handOver(closed)
		return
	}
	r.unlock()
}

func (r *itemRun) step() events.Step {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.at
}

// faultOf is the error of an item at which the program panicked.
func faultOf(at events.Step, err error) *ItemError {
	return &ItemError{Step: at, Code: events.CodeInternal, Err: err}
}

package backup

import (
	"context"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
)

// await does work of some attempts as [stall.Await] does. If it panics, they fail,
// and the Sweeper undoes what they hold: a fault costs these items, and not the
// process.
func await(ctx context.Context, all []*attempt, work func()) (ended <-chan struct{}) {
	return stall.Await(ctx, func() {
		err := panics.Catch(func() error { work(); return nil })
		if err == nil {
			return
		}
		for _, r := range all {
			r.panicked(err)
		}
	})
}

// panicked ends an item whose work has panicked.
func (r *attempt) panicked(err error) {
	r.shared.mu.Lock()
	r.shared.err = &failure.Error{Step: r.shared.step, Code: events.CodeInternal, Err: err}
	r.shared.endSettling()
	r.shared.mu.Unlock()
	r.Log.Error("an item failed by a fault of Holdfast",
		zap.String("item", r.Item.Name), zap.Error(err), panics.LogStack(err))
	if r.isRecorded() {
		r.handOver(r.idle(undo.Ended))
		return
	}
	r.unlock()
}

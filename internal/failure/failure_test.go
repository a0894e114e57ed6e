package failure_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/undo"
)

func TestOf(t *testing.T) {
	own := errors.New("own")
	meanings := slices.Concat(failure.Sink, failure.Engine, failure.Meanings{{Err: own, Code: events.CodeUnsuitable}})
	ended := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		return ctx
	}
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want failure.Error
		says string
	}{
		"the Engine is away":     {err: engine.ErrEngineUnavailable, want: failure.Error{Code: events.CodeEngineUnavailable, Retryable: true}},
		"a kind's own case":      {err: fmt.Errorf("it: %w", own), want: failure.Error{Code: events.CodeUnsuitable}},
		"the first one counts":   {err: errors.Join(own, sink.ErrFull), want: failure.Error{Code: events.CodeSinkFull, Retryable: true}},
		"the sink's":             {err: failure.FromSink(broken), want: failure.Error{Code: events.CodeSinkError, Retryable: true}},
		"nothing is known of it": {err: broken, want: failure.Error{Code: events.CodeEngine, Retryable: true}, says: "broken"},
		"what stood before it":   {err: undo.ErrBlocked, want: failure.Error{Code: events.CodeNotRestored, Retryable: true}},
		"a panic":                {err: panics.Catch(func() error { panic("oh") }), want: failure.Error{Code: events.CodeInternal}},
		"with its step": {err: failure.At(events.StepGate, failure.At(events.StepLoad, broken, "load"), "look"),
			want: failure.Error{Step: events.StepLoad, Code: events.CodeEngine, Retryable: true}, says: "load: broken"},
		"as it was decided": {err: fmt.Errorf("it: %w", failure.New(events.StepGate, events.CodeGone, "away")),
			want: failure.Error{Step: events.StepGate, Code: events.CodeGone}, says: "away"},
		"cancelled": {ctx: ended(own), err: failure.At(events.StepLoad, broken, "load"),
			want: failure.Error{Step: events.StepLoad, Code: events.CodeCancelled, Retryable: true}, says: "load: own"},
		"stalled": {ctx: ended(stall.ErrStalled), err: broken, want: failure.Error{Code: events.CodeTimeout, Retryable: true}},
	} {
		t.Run(name, func(t *testing.T) {
			if c.ctx == nil {
				c.ctx = t.Context()
			}
			if c.want.Step == "" {
				c.want.Step = events.StepRead
			}
			got := meanings.Of(c.ctx, events.StepRead, c.err)
			if got.Step != c.want.Step || got.Code != c.want.Code || got.Retryable != c.want.Retryable || c.says != "" && got.Error() != c.says {
				t.Errorf("it is %+v, want %+v, %q", *got, c.want, c.says)
			}
			if away := got.Code == events.CodeEngineUnavailable; errors.Is(got, failure.ErrAway) != away {
				t.Errorf("it is away: %v, want %v", !away, away)
			}
		})
	}
}

func TestUnregistered(t *testing.T) {
	broken := errors.New("broken")
	if e := failure.Unregistered(t.Context(), broken); e.Code != events.CodeInternal || !e.Retryable || e.Error() != "broken" {
		t.Errorf("it is %+v", *e)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("cancelled by anna"))
	if e := failure.Unregistered(ctx, broken); e.Code != events.CodeCancelled || e.Error() != "cancelled by anna" {
		t.Errorf("it is %+v", *e)
	}
}

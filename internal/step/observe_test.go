package step_test

import (
	"context"
	"slices"
	"testing"

	"holdfast.io/holdfast/internal/step"
)

// All observers of a context are told of a step, the first one first, and those of
// another context are not.
func TestObserve(t *testing.T) {
	var told []string
	add := func(who string) func(context.Context, step.Name) {
		return func(_ context.Context, passed step.Name) { told = append(told, who+" "+string(passed)) }
	}
	outer := step.Observe(t.Context(), add("outer"))
	inner := step.Observe(outer, add("inner"))
	step.At(inner, step.Planned)
	step.At(outer, step.Accepted)
	step.At(t.Context(), step.Ended)
	if want := []string{"outer planned", "inner planned", "outer accepted"}; !slices.Equal(told, want) {
		t.Errorf("told are %q, want %q", told, want)
	}
}

package plan_test

import (
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/plan"
)

// No request selects a helper, not even by its name.
func TestHelpersAreNotSelected(t *testing.T) {
	name := engine.HelperName("20260102T150405Z-0123abcd", 1, 0)
	helper := engine.Container{ID: "c1", Name: name, State: events.StateRunning, Labels: map[string]string{engine.HelperLabel: name}}
	req := &events.BackupRequest{Containers: &events.ContainerSelector{All: true, Names: []string{name}}}
	p := plan.Make(time.Unix(0, 0), req, plan.Inventory{Containers: []engine.Container{helper}}, plan.Rules{Explain: true})
	if len(p.Items)+len(p.Excluded) > 0 || len(p.Missing) != 1 {
		t.Errorf("the plan is %+v, want that there is no such container", p)
	}
}

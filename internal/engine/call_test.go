package engine_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Who takes a container's movement away must be able to give it back.
func TestCallsForUndoThemselves(t *testing.T) {
	undo := map[engine.Call]engine.Call{
		engine.CallPause: engine.CallUnpause, engine.CallStop: engine.CallStart, engine.CallCommit: engine.CallRemoveImage,
	}
	for _, quiesce := range []events.Quiesce{events.QuiescePause, events.QuiesceStop, events.QuiesceNone} {
		for _, together := range []bool{false, true} {
			item := events.PlannedItem{Item: events.Item{Kind: events.ItemContainer}, Quiesce: quiesce}
			calls := engine.CallsFor(item, together, false)
			for do, back := range undo {
				if slices.Contains(calls, do) && !slices.Contains(calls, back) {
					t.Errorf("%s, together %v: %s without %s", quiesce, together, do, back)
				}
			}
			if want := quiesce == events.QuiescePause && together; slices.Contains(calls, engine.CallPause) != want {
				t.Errorf("%s, together %v: pause is in %v, want %v", quiesce, together, calls, want)
			}
			if slices.Contains(calls, engine.CallUnpause) != (quiesce == events.QuiescePause) {
				t.Errorf("%s, together %v: %v", quiesce, together, calls)
			}
		}
	}
}

func TestCallsFor(t *testing.T) {
	image := engine.CallsFor(events.PlannedItem{Item: events.Item{Kind: events.ItemImage}}, false, false)
	for _, c := range []engine.Call{engine.CallCommit, engine.CallRemoveImage, engine.CallEvents} {
		if slices.Contains(image, c) {
			t.Errorf("an image needs %s", c)
		}
	}
	item := events.PlannedItem{Item: events.Item{Kind: events.ItemContainer}, Quiesce: events.QuiesceNone}
	if calls := engine.CallsFor(item, false, true); !slices.Contains(calls, engine.CallExecStart) {
		t.Errorf("hooks need no exec: %v", calls)
	}
}

func TestEndpoints(t *testing.T) {
	for _, c := range engine.Calls {
		if method, path := c.Endpoint(); method == "" || path == "" {
			t.Errorf("%s has no endpoint", c)
		}
	}
}

func TestRefused(t *testing.T) {
	err := fmt.Errorf("unpause container web: %w", &engine.RefusedError{Method: "POST", Path: "/containers/{id}/unpause", Status: 403})
	if !errors.Is(err, engine.ErrRefused) {
		t.Error("a RefusedError is not ErrRefused")
	}
}

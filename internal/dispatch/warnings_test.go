package dispatch

import (
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
)

// What is wrong with all points of an Engine is said once a job: in the plan and
// at the end. What is wrong with one stands with it.
func TestWarnings(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.engine.SetNaiveDiff()
		h.engine.Add(enginetest.Spec{Name: "boxed", Image: baseImage, Runtime: "runsc-kvm"}, events.StateRunning)
		h.container("web")
		h.start()
		h.do(h.backup(allContainers))
		var accepted events.Accepted
		if err := h.server.published()[0].DataAs(&accepted); err != nil {
			h.Fatal(err)
		}
		ended := h.ended()
		for what, got := range map[string][]events.Warning{"the plan": accepted.Warnings, "the end": ended.Warnings} {
			if len(got) != 1 || got[0].Code != events.WarningNaiveDiff {
				h.Errorf("%s warns of %v", what, got)
			}
		}
		for _, o := range ended.Items {
			if boxed := len(o.Warnings) == 1 && o.Warnings[0] == events.WarningRuntime; boxed != (o.Item.Name == "boxed") {
				h.Errorf("the end has %+v", o)
			}
		}
	})
}

func TestImagesAreWhole(t *testing.T) {
	withHost(t, 1, func(h *host) {
		h.engine.SetNaiveDiff()
		h.start()
		h.do(h.backup(`{"images": {"all": true}}`))
		if ended := h.ended(); len(ended.Warnings) > 0 {
			h.Errorf("the end warns of %v", ended.Warnings)
		}
	})
}

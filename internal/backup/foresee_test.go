package backup_test

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// What is foreseen is what is chosen then, as far as it is known, and nothing is changed to find
// it out.
func TestForesee(t *testing.T) {
	b, id := pushBench(t)
	c, err := b.engine.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	to := &layered.Sink{Sink: b.sink}
	other := &layered.Sink{Sink: sinktest.NewMemory()}
	wants := func(when string, kind events.ItemKind, want string, to ...sink.Sink) {
		t.Helper()
		before := slices.Sorted(maps.Keys(b.sink.Contents()))
		choice, err := b.runner.Foresee(t.Context(), kind, c.ImageID, to)
		if got := string(choice.Transport) + ": " + choice.Reason; err != nil || !strings.HasPrefix(got, want) {
			t.Errorf("%s: it is %q, %v, want %q", when, got, err, want)
		}
		if after := slices.Sorted(maps.Keys(b.sink.Contents())); !slices.Equal(before, after) {
			t.Errorf("%s: the sink had %q, and has %q", when, before, after)
		}
	}
	wants("an image", events.ItemImage, "save: only the snapshots", to)
	wants("a sink of archives", events.ItemContainer, "save: the point goes to a sink with format archive", b.sink)
	wants("one of archives among others", events.ItemContainer, "save: the point goes to a sink with format archive", to, b.sink)
	wants("an empty sink", events.ItemContainer, "save: 2 of 2 layers are not stored yet", to)
	b.change(id, 1)
	b.backUp(id, "20260102T150405Z-00000001", events.TransportSave)
	b.change(id, 2)
	wants("a sink with the base", events.ItemContainer, "push: only the last layer is new; if it has more than 8.0 MiB", to)
	wants("one with it, and one without", events.ItemContainer, "save: the sinks do not lack the same layers", to, other)
	wants("two with it", events.ItemContainer, "push: only the last layer is new", to, to)
	b.backUp(id, "20260102T150405Z-00000002", events.TransportPush)
	b.engine.SetStreams()
	wants("a containerd store", events.ItemContainer, "push: the Engine has the layers as it pushes them", to)
	b.runner.Push = nil
	wants("no registry", events.ItemContainer, "save: the worker has no registry", to)
}

// What cannot be asked is an error, and no choice.
func TestForeseeOfNothing(t *testing.T) {
	b, id := pushBench(t)
	c, err := b.engine.Inspect(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	b.engine.Plan(enginetest.Fault{Op: enginetest.InspectImage, Err: engine.ErrEngineUnavailable})
	wantError(t, b.runner, c.ImageID, &layered.Sink{Sink: b.sink}, engine.ErrEngineUnavailable)
	b.sink.Vanish()
	wantError(t, b.runner, c.ImageID, &layered.Sink{Sink: b.sink}, sink.ErrUnavailable)
}

func wantError(t *testing.T, r *backup.Runner, imageID string, to sink.Sink, want error) {
	t.Helper()
	if choice, err := r.Foresee(t.Context(), events.ItemContainer, imageID, []sink.Sink{to}); !errors.Is(err, want) || choice.Reason != "" {
		t.Errorf("it is %+v, %v, want %v", choice, err, want)
	}
}

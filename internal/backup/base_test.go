package backup_test

import (
	"errors"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine/enginetest"
)

// What the Engine cannot commit, or what cannot be checked, is found before any
// container of the group is held.
func TestCaptureRefusesBeforeItHolds(t *testing.T) {
	const other = "other:v1"
	cases := map[string]struct {
		spec enginetest.Spec
		plan func(e *enginetest.Fake)
		want events.Code // empty if it is captured
	}{
		"its image is gone": {enginetest.Spec{Image: other}, func(e *enginetest.Fake) { e.LoseImage(other) }, events.CodeBaseImageMissing},
		"its image is gone, and not needed": {enginetest.Spec{Image: other}, func(e *enginetest.Fake) {
			e.SetStreams()
			e.LoseImage(other)
		}, ""},
		"its image has lost its name": {enginetest.Spec{Image: other}, func(e *enginetest.Fake) { e.Tag(e.AddImage(), other) }, ""},
		"its image cannot be inspected": {enginetest.Spec{Image: other}, func(e *enginetest.Fake) {
			e.Plan(enginetest.Fault{Op: enginetest.InspectImage, After: 2, Err: errors.New("broken")})
		}, ""},
		"its labels are too large": {enginetest.Spec{Image: other, Labels: map[string]string{"large": strings.Repeat("x", 4<<20)}},
			func(*enginetest.Fake) {}, events.CodeConfigTooLarge},
		"its labels just fit": {enginetest.Spec{Image: other, Labels: map[string]string{"large": strings.Repeat("x", 4<<20-1000)}},
			func(*enginetest.Fake) {}, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			withBench(t, func(b *bench) {
				b.engine.AddImage(other)
				_, tasks := b.set(three...)
				c.spec.Name = "last"
				id := b.engine.Add(c.spec, events.StateRunning)
				last := b.task(id, events.QuiescePause)
				last.Point = "20260102T150405Z-2000000a"
				c.plan(b.engine)
				_, errs := b.storeAll(b.runner.Capture(b.Context(), append(tasks, last)))
				if c.want == "" {
					b.wantCodes(errs, "", "", "", "")
					return
				}
				b.wantCodes(errs, events.CodeNotTogether, events.CodeNotTogether, events.CodeNotTogether, c.want)
				b.wantError(errs[3], events.StepInspect, c.want, false)
				for _, op := range []enginetest.Op{enginetest.Pause, enginetest.Stop, enginetest.Commit} {
					if n := b.engine.Calls(op); n > 0 {
						b.Errorf("%s was called %d times", op, n)
					}
				}
				b.settle()
			})
		})
	}
}

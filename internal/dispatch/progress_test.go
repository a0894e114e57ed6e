package dispatch

import (
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

func TestPacerSendsANewStepAtOnceAndNeverMoreThanTwiceASecond(t *testing.T) {
	begin := time.Now()
	var p pacer
	for _, report := range []struct {
		at   time.Duration
		step events.Step
		sent bool
	}{
		{0, events.StepCommit, true},
		{100 * time.Millisecond, events.StepCommit, false},
		{200 * time.Millisecond, events.StepSave, true},
		{800 * time.Millisecond, events.StepSave, false}, // the third in a second
		{1000 * time.Millisecond, events.StepSave, true},
		{1100 * time.Millisecond, events.StepPublish, false},
		{1200 * time.Millisecond, events.StepPublish, true},
	} {
		if got := p.allow(report.step, begin.Add(report.at)); got != report.sent {
			t.Errorf("after %s, %s is sent: %t", report.at, report.step, got)
		}
	}
}

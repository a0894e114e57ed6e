package job

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

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

// Progress is published at most twice a second for an item, and nobody depends on
// it.
func TestProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		heard := &listener{}
		a := &Attempt{runner: &Runner{Host: "web01", Publisher: heard}, kind: events.Backup,
			request: Request{Job: "ptg32uecxwng6yf7", Event: event.New()},
			public:  events.Plan{Items: []events.PlannedItem{{Item: events.Item{Kind: events.ItemContainer, ID: "c", Name: "web"}, Point: "p"}}}}
		report := a.Progress(0)
		for i := range int64(100) { // in ten seconds
			report(events.StepSave, i, 100, i/2)
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(heard.progress); n != 20 {
			t.Errorf("there were %d reports in ten seconds", n)
		}
		var data events.Progress
		if err := heard.progress[1].DataAs(&data); err != nil || data.Bytes != 5 || data.TotalBytes != 100 ||
			data.StoredBytes != 2 || data.Step != events.StepSave || data.Point != "p" {
			t.Errorf("the second is %+v, %v", data, err)
		}
	})
}

// listener hears progress, and fails all the same.
type listener struct {
	Publisher
	progress []event.Event
}

func (l *listener) PublishProgress(_ string, ev event.Event) error {
	l.progress = append(l.progress, ev)
	return errors.New("nobody listens")
}

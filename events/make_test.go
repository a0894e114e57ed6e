package events_test

import (
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

func TestNewResultIsRelatedToItsRequest(t *testing.T) {
	request := event.New()
	request.SetID("deploy-4711")
	request.SetSource("/ci")
	for _, own := range []string{"", "pipeline-1"} {
		want := map[string]any{events.ExtJobID: "ptg32uecxwng6yf7", events.ExtCausationID: "deploy-4711", events.ExtCorrelationID: "deploy-4711"}
		if own != "" {
			request.SetExtension(events.ExtCorrelationID, own)
			request.SetExtension(events.ExtTraceParent, "00-1-2-01")
			want[events.ExtCorrelationID], want[events.ExtTraceParent] = own, "00-1-2-01"
		}
		ev := events.NewResult(time.Unix(1_800_000_000, 0), "web01", "ptg32uecxwng6yf7", request, events.TypeRequestUnserved, "s",
			"", events.RequestUnserved{Host: "web09"})
		if err := ev.Validate(); err != nil {
			t.Error(err)
		}
		if ev.ID() != "ptg32uecxwng6yf7-request.unserved" || ev.Source() != "/holdfast/web01" || ev.Subject() != "s" ||
			ev.Time().Unix() != 1_800_000_000 {
			t.Errorf("got %s", ev)
		}
		if got := ev.Extensions(); len(got) != len(want) {
			t.Errorf("got the extensions %v, want %v", got, want)
		}
		for name, value := range want {
			if got := ev.Extensions()[name]; got != value {
				t.Errorf("%s is %v, want %v", name, got, value)
			}
		}
	}
}

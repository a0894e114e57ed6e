package present

import (
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

type verifyView struct{}

func (verifyView) done() string    { return "passed" }
func (verifyView) wouldBe() string { return "would be verified" }
func (verifyView) nothing() string { return "nothing was selected: nothing is verified" }

func (verifyView) completed(ev event.Event) (completed, error) {
	d, err := decode[events.VerifyItemCompleted](ev)
	if err != nil {
		return completed{}, err
	}
	return completed{item: d.Item, point: d.Point, warnings: d.Warnings,
		line: fmt.Sprintf("%s of %s %s (%s, %s read)", d.Point, d.Item.Kind, d.Item.Name, d.Level, Bytes(d.Checked.Bytes))}, nil
}

func (verifyView) endTable(d events.Ended) string {
	// The point is named of those that fail, too.
	which := column{name: "POINT", of: pointColumn.of, failed: pointColumn.of}
	result := column{name: "RESULT", of: func(events.ItemOutcome) string { return "passed" }}
	return outcomes(d, result, which, sizeColumn, timeColumn)
}

func (verifyView) planTable(d events.Planned) string {
	return planned(d.Plan, "VERIFIED", "POINT", func(i events.PlannedItem) string { return i.Point })
}

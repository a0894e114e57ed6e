package present

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

type copyView struct{}

func (copyView) done() string    { return "copied" }
func (copyView) wouldBe() string { return "would be copied" }
func (copyView) nothing() string { return "nothing is to be copied" }

func (copyView) completed(ev event.Event) (completed, error) {
	d, err := decode[events.CopyItemCompleted](ev)
	if err != nil {
		return completed{}, err
	}
	c := completed{item: d.Item, point: d.Point, warnings: d.Warnings,
		line: fmt.Sprintf("%s of %s %s to %s (%s)", d.Point, d.Item.Kind, d.Item.Name, d.Sink, Bytes(d.Bytes))}
	if d.AlreadyThere {
		c.details = append(c.details, fmt.Sprintf("point %s was in sink %s already", d.Point, d.Sink))
	}
	if d.Protected {
		c.details = append(c.details, fmt.Sprintf("point %s is protected in sink %s, as it is in sink %s", d.Point, d.Sink, d.From))
	}
	return c, nil
}

func (copyView) endTable(d events.Ended) string {
	// The point is named of those that fail, too.
	which := column{name: "POINT", of: pointColumn.of, failed: pointColumn.of}
	result := column{name: "RESULT", of: func(events.ItemOutcome) string { return "copied" }}
	return outcomes(d, result, which, sizeColumn, timeColumn)
}

func (copyView) planTable(d events.Planned) string {
	return planned(d.Plan, "COPIED", "POINT", func(i events.PlannedItem) string {
		return strings.Join(append([]string{i.Point}, i.Actions...), "\n")
	})
}

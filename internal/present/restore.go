package present

import (
	"fmt"
	"strings"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

type restoreView struct{}

func (restoreView) done() string    { return "restored" }
func (restoreView) wouldBe() string { return "would be restored" }
func (restoreView) nothing() string { return "nothing was selected: nothing is restored" }

func (restoreView) completed(ev event.Event) (completed, error) {
	d, err := decode[events.RestoreItemCompleted](ev)
	if err != nil {
		return completed{}, err
	}
	line := fmt.Sprintf("%s %s from %s", d.Item.Kind, d.Item.Name, d.Point)
	switch {
	case d.Container.ID != "":
		line += fmt.Sprintf(" as container %s (%.12s)", d.Container.Name, d.Container.ID)
	case d.ImageReference != "":
		line += " as image " + d.ImageReference
	}
	c := completed{item: d.Item, point: d.Point, warnings: d.Warnings, line: line}
	for _, n := range d.Networks {
		if n.Action == events.NetworkCreated {
			c.details = append(c.details, fmt.Sprintf("network %s: %s", n.Name, n.Action))
		}
	}
	for _, v := range d.Volumes {
		was := ""
		if v.Was != "" {
			was = ", which was " + v.Was
		}
		c.details = append(c.details, fmt.Sprintf("volume %s%s: %s", v.Name, was, strings.ReplaceAll(string(v.Action), "_", " ")))
		if v.Safety != "" {
			c.details = append(c.details, fmt.Sprintf("volume %s: what it held is point %s", v.Name, v.Safety))
		}
	}
	for _, again := range d.Dependants {
		c.details = append(c.details, fmt.Sprintf("container %s uses its namespaces: made again (%.12s) from image %s",
			again.Name, again.ID, again.ImageReference))
	}
	for _, diff := range d.Differences {
		c.details = append(c.details, fmt.Sprintf("not as it was: %s: %s", diff.Member, diff.Reason))
	}
	return c, nil
}

func (restoreView) endTable(d events.Ended) string {
	return outcomes(d, pointColumn, sizeColumn, timeColumn, restColumn)
}

func (restoreView) planTable(d events.Planned) string {
	return planned(d.Plan, "RESTORED", "WHAT IS DONE", func(i events.PlannedItem) string { return strings.Join(i.Actions, "\n") })
}

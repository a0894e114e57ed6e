package present

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

type backupView struct{}

func (backupView) done() string    { return "stored" }
func (backupView) wouldBe() string { return "would be backed up" }
func (backupView) nothing() string { return "nothing was selected: nothing is stored" }

func (backupView) completed(ev event.Event) (completed, error) {
	d, err := decode[events.BackupItemCompleted](ev)
	if err != nil {
		return completed{}, err
	}
	var size int64
	for _, a := range d.Artifacts {
		size += a.Size
	}
	stored := Stored(size, events.Added(d.Artifacts))
	if d.Unchanged {
		stored += ", image unchanged"
	}
	return completed{item: d.Item, sink: d.Sink, warnings: d.Warnings,
		line: fmt.Sprintf("%s %s as %s (%s)", d.Item.Kind, d.Item.Name, d.Point, stored)}, nil
}

func (backupView) endTable(d events.Ended) string {
	columns := []column{pointColumn, sizeColumn,
		{name: "RATIO", of: func(o events.ItemOutcome) string { return ratioOf(o.UncompressedSize, o.Size) }},
		timeColumn, restColumn,
		{name: "NOT INCLUDED", of: func(o events.ItemOutcome) string { return Escape(notIncludedColumn(o)) }}}
	if slices.ContainsFunc(d.Items, isUnchanged) {
		columns = append(columns, column{name: "IMAGE", of: func(o events.ItemOutcome) string {
			if isUnchanged(o) {
				return "unchanged"
			}
			return ""
		}})
	}
	if slices.ContainsFunc(d.Items, func(o events.ItemOutcome) bool { return o.Volumes > 0 }) {
		columns = append(columns, column{name: "VOLUMES", of: func(o events.ItemOutcome) string { return strconv.Itoa(o.Volumes) }})
	}
	return outcomes(d, columns...)
}

func isUnchanged(o events.ItemOutcome) bool { return o.Unchanged }

func (backupView) planTable(d events.Planned) string {
	return planned(d.Plan, "BACKED UP", "QUIESCE", func(i events.PlannedItem) string {
		quiesce := string(i.Quiesce)
		if i.QuiesceReason != "" {
			quiesce += " (" + i.QuiesceReason + ")"
		}
		return quiesce
	})
}

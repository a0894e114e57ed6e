package dispatch

import (
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/point"
)

// ended makes the terminal event of a job whose items have ended so.
func (j *job) ended(plan *events.Plan, outcomes []events.ItemOutcome, cause error) event.Event {
	data := conclude(plan, outcomes, cause)
	data.Job, data.Host, data.Sink = j.job, j.Host, j.sink
	data.Began, data.Ended = j.began, time.Now().UTC()
	eventType := events.TypeBackupCompleted
	if data.Status == events.StatusFailed || data.Status == events.StatusCancelled {
		eventType = events.TypeBackupFailed
	}
	// One discriminator for both types: a job has one terminal event id.
	ev := j.event(eventType, j.job, "", data)
	ev.SetID(events.EventID(j.job, terminalName, ""))
	return ev
}

// terminalName stands for the type in the id of a job's last event, whichever
// that is.
const terminalName = "terminal"

// conclude counts what came of a job. It is a pure function. cause is why the
// job's context ended, or nil.
func conclude(plan *events.Plan, outcomes []events.ItemOutcome, cause error) events.BackupEnded {
	data := events.BackupEnded{
		Counts: events.Counts{Items: len(outcomes), Missing: len(plan.Missing), Excluded: len(plan.Excluded)},
	}
	for _, o := range outcomes {
		switch o.Status {
		case events.ItemCompleted:
			data.Counts.Completed++
		case events.ItemFailed:
			data.Counts.Failed++
		case events.ItemCancelled:
			data.Counts.Cancelled++
		case events.ItemSkipped:
			data.Counts.Skipped++
		}
		data.Bytes += o.Size
		data.UncompressedBytes += o.UncompressedSize
		data.NotIncluded += len(o.NotIncluded)
	}
	data.Items, data.ItemsOmitted = first(outcomes)
	data.Missing, data.MissingOmitted = first(plan.Missing)
	data.Status, data.Message = status(data.Counts, cause)
	return data
}

// status decides how a job ended.
func status(c events.Counts, cause error) (events.Status, string) {
	bad := c.Failed + c.Cancelled + c.Skipped + c.Missing
	switch {
	case errors.Is(cause, backup.ErrCancelled):
		return events.StatusCancelled, cause.Error()
	case errors.Is(cause, backup.ErrTimeout) && bad > 0 && c.Completed == 0:
		return events.StatusFailed, cause.Error()
	case bad == 0:
		return events.StatusSucceeded, ""
	case c.Skipped > 0 && c.Cancelled == 0 && cause == nil:
		return events.StatusFailed, "aborted at the first error, as the request asks"
	case c.Completed == 0:
		return events.StatusFailed, "nothing could be stored"
	}
	return events.StatusPartial, ""
}

// completed fills in the outcome of an item that is stored.
func completed(o *events.ItemOutcome, m *point.Manifest) {
	o.Status, o.Point = events.ItemCompleted, m.ID
	for _, a := range m.Artifacts {
		o.Size += a.Size
		o.UncompressedSize += a.UncompressedSize
	}
	o.NotRunningMillis = m.NotRunningMillis
	o.NotIncluded = m.NotIncluded
}

// shorten bounds the lists of a plan, so that the event that carries it has a
// bounded size.
func shorten(p events.Plan) events.Plan {
	p.Items, p.ItemsOmitted = first(p.Items)
	p.Missing, p.MissingOmitted = first(p.Missing)
	p.Excluded, p.ExcludedOmitted = first(p.Excluded)
	return p
}

// first returns at most [events.MaxListed] entries, never nil, and the number
// of those left out.
func first[T any](list []T) ([]T, int) {
	if list == nil {
		list = []T{}
	}
	n := min(len(list), events.MaxListed)
	return list[:n], len(list) - n
}

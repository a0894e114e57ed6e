package dispatch

import (
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/plan"
	"holdfast.io/holdfast/internal/point"
)

// ended makes the terminal event of a job whose items have ended so. p is nil if
// the job ended before it had a plan.
func (j *job) ended(p *plan.Plan, outcomes []events.ItemOutcome, cause error) event.Event {
	data := conclude(p, outcomes, j.backupData.AbortOnError, cause)
	data.Job, data.Host, data.Sink = j.job, j.Host, j.sink
	data.Began, data.Ended = j.claim.Began(), time.Now().UTC()
	eventType := events.Backup.ResultType(events.ResultCompleted)
	if data.Status == events.StatusFailed || data.Status == events.StatusCancelled {
		eventType = events.Backup.ResultType(events.ResultFailed)
	}
	return j.terminal(eventType, data)
}

// terminal makes the last event of a job. It has the same id whatever its type:
// a job ends once.
func (j *job) terminal(eventType string, data any) event.Event {
	ev := j.event(time.Now(), eventType, j.job, "", data)
	ev.SetID(events.EventID(j.job, "terminal", ""))
	return ev
}

// conclude counts what came of a job. It is a pure function. p is nil if the
// job ended before it had a plan; abort is the request's abortOnError; cause is why
// the job's context ended, or nil.
func conclude(p *plan.Plan, outcomes []events.ItemOutcome, abort bool, cause error) events.Ended {
	data := events.Ended{Items: outcomes}
	if p == nil {
		data.Status, data.Message = events.StatusFailed, cause.Error()
		if errors.Is(cause, backup.ErrCancelled) {
			data.Status = events.StatusCancelled
		}
		return data
	}
	data.Missing, data.Warnings = p.Missing, p.Warnings
	data.Counts = count(outcomes)
	data.Counts.Missing, data.Counts.Excluded = len(p.Missing), len(p.Excluded)
	for _, o := range outcomes {
		data.Bytes += o.Size
		data.UncompressedBytes += o.UncompressedSize
		data.NotIncluded += len(o.NotIncluded) + o.NotIncludedOmitted
	}
	data.Status, data.Message = status(data.Counts, abort, cause)
	return data
}

func count(outcomes []events.ItemOutcome) events.Counts {
	c := events.Counts{Items: len(outcomes)}
	for _, o := range outcomes {
		switch o.Status {
		case events.OutcomeCompleted:
			c.Completed++
		case events.OutcomeFailed:
			c.Failed++
		case events.OutcomeCancelled:
			c.Cancelled++
		case events.OutcomeSkipped:
			c.Skipped++
			if isGone(o) {
				c.Gone++
			}
		}
	}
	return c
}

// status decides how a job ended. What came too late to cut anything short did
// not change how it ended.
func status(c events.Counts, abort bool, cause error) (events.Status, string) {
	unfinished := c.Cancelled + c.Skipped - c.Gone
	bad := c.Failed + c.Missing + unfinished
	switch {
	case errors.Is(cause, backup.ErrCancelled) && unfinished > 0:
		return events.StatusCancelled, cause.Error()
	case bad == 0:
		return events.StatusSucceeded, ""
	case c.Completed > 0 && !abort:
		return events.StatusPartial, ""
	case errors.Is(cause, backup.ErrTimeout):
		return events.StatusFailed, cause.Error()
	case abort:
		return events.StatusFailed, "aborted at the first error, as the request asks"
	}
	return events.StatusFailed, "no item succeeded"
}

// completed fills in the outcome of an item that is stored.
func completed(o *events.ItemOutcome, m *point.Manifest) {
	o.Status, o.Point = events.OutcomeCompleted, m.ID
	for _, a := range m.Artifacts {
		o.Size += a.Size
		o.UncompressedSize += a.UncompressedSize
	}
	o.NotRunningMillis = m.NotRunningMillis
	o.NotIncluded = m.NotIncluded
}

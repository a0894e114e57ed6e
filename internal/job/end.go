package job

import (
	"errors"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// ended makes the terminal event of a job whose items have ended so; nil if it ended
// before it had a plan. why is what ended the job's context, or nil.
func (a *Attempt) ended(outcomes []events.ItemOutcome, why error) event.Event {
	var p *events.Plan
	if outcomes != nil {
		p = &a.public
	}
	data := conclude(p, outcomes, a.options.AbortOnError, why)
	data.Job, data.Host, data.Sink, data.Sinks = a.request.Job, a.runner.Host, a.options.Sink, a.options.Sinks
	data.Began, data.Ended = a.claim.Began(), time.Now().UTC()
	result := events.ResultCompleted
	if data.Status == events.StatusFailed || data.Status == events.StatusCancelled {
		result = events.ResultFailed
	}
	return a.terminal(result, data)
}

// terminal makes the last event of a job. It has the same id whatever its type: a job
// ends once.
func (a *Attempt) terminal(result events.Result, data any) event.Event {
	ev := a.event(time.Now(), result, a.request.Job, "", data)
	ev.SetID(events.EventID(a.request.Job, "terminal", ""))
	return ev
}

// conclude counts what came of a job. It is a pure function. p is nil if the
// job ended before it had a plan; abort is the request's abortOnError; cause is why
// the job's context ended, or nil.
func conclude(p *events.Plan, outcomes []events.ItemOutcome, abort bool, cause error) events.Ended {
	data := events.Ended{Items: outcomes}
	if p == nil {
		data.Status, data.Message = events.StatusFailed, cause.Error()
		if errors.Is(cause, ErrCancelled) {
			data.Status = events.StatusCancelled
		}
		return data
	}
	data.Missing, data.Warnings = p.Missing, p.Warnings
	data.Counts = count(outcomes)
	data.Counts.Missing, data.Counts.Excluded = len(p.Missing), len(p.Excluded)
	for _, o := range outcomes {
		if o.GoneAfter.IsZero() {
			data.Bytes += o.Size
		} else {
			data.Hidden++
			data.HiddenBytes += o.Size
		}
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
			if o.Code == events.CodeGone {
				c.Gone++
			}
			if o.Code == events.CodeKept {
				c.Kept++
			}
		}
	}
	return c
}

// status decides how a job ended. What came too late to cut anything short did
// not change how it ended.
func status(c events.Counts, abort bool, cause error) (events.Status, string) {
	unfinished := c.Cancelled + c.Skipped - c.Gone - c.Kept
	bad := c.Failed + c.Missing + unfinished
	switch {
	case errors.Is(cause, ErrCancelled) && unfinished > 0:
		return events.StatusCancelled, cause.Error()
	case bad == 0:
		return events.StatusSucceeded, ""
	case c.Completed > 0 && !abort:
		return events.StatusPartial, ""
	case errors.Is(cause, ErrTimeout):
		return events.StatusFailed, cause.Error()
	case abort:
		return events.StatusFailed, "aborted at the first error, as the request asks"
	}
	return events.StatusFailed, "no item succeeded"
}

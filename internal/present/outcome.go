package present

import "holdfast.io/holdfast/events"

// Outcome is how a job, or what was asked of all hosts, ended.
type Outcome int

// A job is Running until its last event was shown. Failed is also a request that was
// rejected, a dry run that misses what it should back up, and a status that this
// version does not know. Partial is also that it is not known of every job how it ended.
const (
	Running Outcome = iota
	Succeeded
	Partial
	Failed
	Cancelled
)

// outcomeOf returns the outcome that the status of a job's end stands for.
func outcomeOf(status events.Status) Outcome {
	switch status {
	case events.StatusSucceeded:
		return Succeeded
	case events.StatusPartial:
		return Partial
	case events.StatusCancelled:
		return Cancelled
	case events.StatusFailed:
	}
	return Failed
}

package dispatch

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/ledger"
)

// broadcastLife is how long a request to all hosts is good for if it does not
// say so itself.
const broadcastLife = time.Hour

// request is a message that was admitted.
type request struct {
	job.Request
	kind events.Kind
	// spec is what its kind makes of it; nil for a cancellation.
	spec    job.Spec
	cancels *events.CancelRequest
}

// rejection says why a message cannot be carried out. The event may be
// incomplete; it can be answered if it has a source and an id.
type rejection struct {
	event      event.Event
	host       string // whose job it would be: this host, or events.HostAny
	job        string // empty if the event cannot be answered
	digest     string
	claim      *ledger.Claim // of a job that ends with this; nil if it is not claimed
	reason     events.Reason
	violations []events.Violation
}

func (r *request) rejected(reason events.Reason, v ...events.Violation) *rejection {
	return &rejection{event: r.Event, host: r.Host, job: r.Job, digest: r.Digest, reason: reason, violations: v}
}

// admit holds a message against the contract, but for its expiry. It is a pure
// function: exactly one of its results is not nil.
func admit(m *consume.Message, host string, kinds []job.Kind) (*request, *rejection) {
	kind, target, badSubject := events.ParseRequestSubject(m.Subject)
	if target == events.TargetAny {
		host = events.HostAny
	}
	ev, err := events.Decode(m.Headers, m.Body)
	if err != nil {
		return nil, malformed(err, host)
	}
	r := &request{kind: kind, Request: job.Request{
		Job: events.JobID(ev.Source(), ev.ID(), host), Host: host, Target: target, Event: ev,
		Digest: events.RequestDigest(ev), Reply: m.Reply, Stored: m.Time, Expires: expiry(ev, target, m.Time),
	}}
	if badSubject != nil {
		return nil, r.rejected(events.ReasonKindMismatch, events.Violation{Message: badSubject.Error()})
	}
	if why := mismatch(ev.Type(), kind, target); why != nil {
		return nil, r.rejected(why.reason, why.violations...)
	}
	if err := r.parse(kinds); err != nil {
		return nil, r.invalid(err)
	}
	return r, nil
}

// parse has the request's kind read its data. An error is an *events.InvalidError.
func (r *request) parse(kinds []job.Kind) (err error) {
	if r.kind == events.Cancel {
		r.cancels, err = events.ParseCancelRequest(r.Event.Data())
		return err
	}
	for _, k := range kinds {
		if k.Name() == r.kind {
			r.spec, err = k.Parse(r.Request)
			return err
		}
	}
	return &events.InvalidError{Reason: events.ReasonUnsupported, Violations: []events.Violation{
		{Message: fmt.Sprintf("requests of kind %s are not supported by this version", r.kind)}}}
}

func malformed(err error, host string) *rejection {
	bad, ok := errors.AsType[*events.MalformedError](err)
	if !ok {
		return &rejection{reason: events.ReasonMalformed, violations: []events.Violation{{Message: err.Error()}}}
	}
	r := &rejection{host: host, reason: events.ReasonMalformed, violations: bad.Violations}
	if bad.Correlatable() {
		r.event, r.digest = bad.Event, events.RequestDigest(bad.Event)
		r.job = events.JobID(bad.Event.Source(), bad.Event.ID(), host)
	}
	return r
}

func (r *request) invalid(err error) *rejection {
	if bad, ok := errors.AsType[*events.InvalidError](err); ok {
		return r.rejected(bad.Reason, bad.Violations...)
	}
	return r.rejected(events.ReasonInvalid, events.Violation{Message: err.Error()})
}

// mismatch says why an event of this type may not come on this subject.
func mismatch(eventType string, kind events.Kind, target events.Target) *rejection {
	reject := func(reason events.Reason, format string, args ...any) *rejection {
		return &rejection{reason: reason, violations: []events.Violation{{Pointer: "/type", Message: fmt.Sprintf(format, args...)}}}
	}
	known := false
	for _, k := range events.Kinds {
		known = known || eventType == k.RequestType()
	}
	switch {
	case !known && strings.HasPrefix(eventType, events.TypePrefix):
		return reject(events.ReasonUnknownType, "%q is not a request that this version knows", eventType)
	case !known:
		return reject(events.ReasonUnknownType, "%q is not a Holdfast request", eventType)
	case eventType != kind.RequestType():
		return reject(events.ReasonKindMismatch, "a %s was sent on a subject for requests of kind %s", eventType, kind)
	case !events.MayGo(kind, target):
		return reject(events.ReasonKindMismatch, "a request of kind %s may not be sent to %q", kind, target)
	}
	return nil
}

// expiry is when a request is no good any more; zero for never.
func expiry(ev event.Event, target events.Target, stored time.Time) time.Time {
	if own, err := events.ExpiryTime(ev); err == nil && !own.IsZero() { // Decode refuses others
		return own
	}
	if target == events.TargetAll {
		return stored.Add(broadcastLife)
	}
	return time.Time{}
}

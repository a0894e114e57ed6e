package events

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// NewResult makes an event that a host reports of a job, caused by a request, and
// that happened at a time. The id is the same whenever the job, the type and the
// discriminator are. The data is a struct that [Fit] takes; whatever is in it, the
// event has a bounded size.
func NewResult(at time.Time, host, job string, request event.Event, eventType, subject, discriminator string, data any) event.Event {
	ev := event.New()
	ev.SetID(EventID(job, eventType, discriminator))
	ev.SetSource("/holdfast/" + host)
	ev.SetType(eventType)
	ev.SetSubject(subjectOf(subject, job))
	ev.SetTime(at.UTC())
	ev.SetExtension(ExtJobID, job)
	ev.SetExtension(ExtCorrelationID, CorrelationID(request))
	ev.SetExtension(ExtCausationID, request.ID())
	if trace, err := types.ToString(request.Extensions()[ExtTraceParent]); err == nil && len(trace) <= maxTraceParent {
		ev.SetExtension(ExtTraceParent, trace)
	}
	limit := MaxDataBytes
	if r := ResultOf(eventType); r == ResultItemCompleted || r == ResultItemFailed {
		limit = MaxItemDataBytes
	}
	raw, err := Fit(data, limit)
	if err != nil {
		panic(fmt.Sprintf("encode %s: %v", eventType, err))
	}
	ev.SetDataContentType(event.ApplicationJSON)
	ev.DataEncoded = raw
	return ev
}

// maxTraceParent is far more than any version of the W3C trace context has; one
// that is longer is not valid, and is to be ignored.
const maxTraceParent = 512

// subjectOf makes the subject of an event of a name, in which an Engine may have
// anything.
func subjectOf(name, job string) string {
	name = strings.Map(func(r rune) rune {
		if forbidden(r) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(name, string(utf8.RuneError)))
	if checkNotBlank(name) != nil {
		return job
	}
	return Cut(name, MaxText)
}

// CorrelationID returns what relates a request to others: its own correlation id,
// or else its id.
func CorrelationID(request event.Event) string {
	if id, err := types.ToString(request.Extensions()[ExtCorrelationID]); err == nil && id != "" {
		return id
	}
	return request.ID()
}

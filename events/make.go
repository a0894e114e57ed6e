package events

import (
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"
)

// NewResult makes an event that a host reports of a job, caused by a request, and
// that happened at a time. The id is the same whenever the job, the type and the discriminator are. The data
// must be a type that JSON can hold.
func NewResult(at time.Time, host, job string, request event.Event, eventType, subject, discriminator string, data any) event.Event {
	ev := event.New()
	ev.SetID(EventID(job, eventType, discriminator))
	ev.SetSource("/holdfast/" + host)
	ev.SetType(eventType)
	ev.SetSubject(subject)
	ev.SetTime(at.UTC())
	ev.SetExtension(ExtJobID, job)
	ev.SetExtension(ExtCorrelationID, CorrelationID(request))
	ev.SetExtension(ExtCausationID, request.ID())
	if trace, ok := request.Extensions()[ExtTraceParent]; ok {
		ev.SetExtension(ExtTraceParent, trace)
	}
	if err := ev.SetData(event.ApplicationJSON, data); err != nil {
		panic(fmt.Sprintf("encode %s: %v", eventType, err))
	}
	return ev
}

// CorrelationID returns what relates a request to others: its own correlation id,
// or else its id.
func CorrelationID(request event.Event) string {
	if id, err := types.ToString(request.Extensions()[ExtCorrelationID]); err == nil && id != "" {
		return id
	}
	return request.ID()
}

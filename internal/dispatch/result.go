package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// result makes an event of a job, of the time at. The id is the same whenever the
// job, the type and the discriminator are.
func (w *Worker) result(at time.Time, job string, cause event.Event, eventType, subject, discriminator string, data any) event.Event {
	ev := event.New()
	ev.SetID(events.EventID(job, eventType, discriminator))
	ev.SetSource("/holdfast/" + w.Host)
	ev.SetType(eventType)
	ev.SetSubject(subject)
	ev.SetTime(at.UTC())
	ev.SetExtension(events.ExtJobID, job)
	ev.SetExtension(events.ExtCorrelationID, correlationID(cause))
	ev.SetExtension(events.ExtCausationID, cause.ID())
	if trace, ok := cause.Extensions()[events.ExtTraceParent]; ok {
		ev.SetExtension(events.ExtTraceParent, trace)
	}
	if err := ev.SetData(event.ApplicationJSON, data); err != nil {
		// Only a type that JSON cannot hold comes here, which no payload has.
		panic(fmt.Sprintf("encode %s: %v", eventType, err))
	}
	return ev
}

// publish stores an event of a job.
func (w *Worker) publish(ctx context.Context, job string, ev event.Event) error {
	if err := w.Publisher.PublishEvent(ctx, events.EventSubject(w.Host, job, ev.Type()), ev); err != nil {
		return fmt.Errorf("publish %s of job %s: %w", events.Short(ev.Type()), job, err)
	}
	return nil
}

// repeat stores an event of a job that lies in the ledger.
func (w *Worker) repeat(ctx context.Context, job string, raw []byte) error {
	ev, err := recorded(raw)
	if err != nil {
		return err
	}
	return w.publish(ctx, job, ev)
}

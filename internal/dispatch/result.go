package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// result makes an event of a job, of the time at.
func (w *Worker) result(at time.Time, job string, cause event.Event, eventType, subject, discriminator string, data any) event.Event {
	return events.NewResult(at, w.Host, job, cause, eventType, subject, discriminator, data)
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

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
	m, err := w.message(job, ev)
	if err != nil {
		return err
	}
	return w.send(ctx, m)
}

// republish stores the terminal event of a job as it lies in the ledger.
func (w *Worker) republish(ctx context.Context, raw []byte) error {
	m, err := decodeEnd(raw)
	if err != nil {
		return err
	}
	return w.send(ctx, m)
}

func (w *Worker) send(ctx context.Context, m events.Message) error {
	if err := w.Publisher.PublishMessage(ctx, m); err != nil {
		return fmt.Errorf("publish on %s: %w", m.Subject, err)
	}
	return nil
}

package dispatch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/job"
	"holdfast.io/holdfast/internal/ledger"
)

const (
	// maxDeadBody is how much of a body a dead letter keeps.
	maxDeadBody = 64 << 10
	// maxDeadHeaders is up to which size in JSON it keeps the headers.
	maxDeadHeaders = 64 << 10
)

// reject answers a message that cannot be carried out, keeps it as a dead
// letter, and has it delivered no more. If one of these could not be stored, the
// message comes again.
func (w *Worker) reject(ctx context.Context, m *consume.Message, r *rejection) {
	log := w.Log.With(zap.String("stream", m.Stream), zap.Uint64("sequence", m.Sequence), zap.String("reason", string(r.reason)))
	if r.job != "" {
		if err := w.answer(ctx, m, r); err != nil {
			log.Error("a rejection could not be published; the request comes again", zap.Error(err))
			w.later(m, job.RetryDelay)
			return
		}
	}
	if err := w.bury(ctx, m, r); err != nil {
		log.Error("a dead letter could not be stored; the request comes again", zap.Error(err))
		w.later(m, job.RetryDelay)
		return
	}
	if err := m.Reject(ctx, string(r.reason)); err != nil {
		log.Warn("a rejected request could not be ended; it comes again", zap.Error(err))
		return
	}
	log.Info("request rejected", zap.Any("errors", r.violations))
}

// answer publishes a rejection. A request that is not known yet ends with it as a
// job does. One that bears the id of a job is answered beside it: the job goes on,
// or has ended, undisturbed.
func (w *Worker) answer(ctx context.Context, m *consume.Message, r *rejection) error {
	if r.claim != nil {
		return w.endRejected(ctx, m, r.claim, r)
	}
	jobs := w.Runner.Jobs.Of(r.host)
	known, err := jobs.Get(ctx, r.job)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
	case err != nil:
		return err
	case known.Digest == r.digest && rejects(known.End):
		return w.republish(ctx, known.End)
	case known.Digest != "":
		return w.publish(ctx, r.job, w.rejectionEvent(m, r, r.digest))
	}
	claim, err := jobs.Claim(ctx, ledger.Request{Job: r.job, Digest: r.digest, Reply: m.Reply, Stored: m.Time})
	if err != nil {
		return err
	}
	return w.endRejected(ctx, m, claim, r)
}

// endRejected ends a claimed job with a rejection.
func (w *Worker) endRejected(ctx context.Context, m *consume.Message, claim *ledger.Claim, r *rejection) error {
	raw, err := job.EncodeEnd(w.Host, r.job, w.rejectionEvent(m, r, ""))
	if err != nil {
		return err
	}
	stands, err := claim.End(ctx, raw)
	if err != nil {
		return err
	}
	return w.republish(ctx, stands)
}

func (w *Worker) rejectionEvent(m *consume.Message, r *rejection, discriminator string) event.Event {
	data := events.RequestRejected{Host: w.Host, Job: r.job, Type: r.event.Type(), Reason: r.reason, Errors: r.violations}
	return events.NewResult(m.Time, w.Host, r.job, r.event, events.TypeRequestRejected, r.job, discriminator, data)
}

// publish stores an event of a job.
func (w *Worker) publish(ctx context.Context, job string, ev event.Event) error {
	m, err := events.NewMessage(events.EventSubject(w.Host, job, ev.Type()), ev)
	if err != nil {
		return err
	}
	return w.Publisher.PublishMessage(ctx, m)
}

// republish stores the terminal event of a job as it lies in the ledger.
func (w *Worker) republish(ctx context.Context, raw []byte) error {
	m, err := job.DecodeEnd(raw)
	if err != nil {
		return err
	}
	return w.Publisher.PublishMessage(ctx, m)
}

// rejects reports whether a terminal event is a rejection.
func rejects(terminal []byte) bool {
	m, err := job.DecodeEnd(terminal)
	if err != nil {
		return false
	}
	ev, err := m.Event()
	return err == nil && ev.Type() == events.TypeRequestRejected
}

func (w *Worker) bury(ctx context.Context, m *consume.Message, r *rejection) error {
	sum := sha256.Sum256(m.Body)
	letter := events.DeadLetter{
		Reason:   r.reason,
		Errors:   r.violations,
		Stream:   m.Stream,
		Sequence: m.Sequence,
		Subject:  m.Subject,
		Time:     m.Time,
		Headers:  m.Headers,
		Size:     int64(len(m.Body)),
		Digest:   "sha256:" + hex.EncodeToString(sum[:]),
		Body:     m.Body[:min(len(m.Body), maxDeadBody)],
	}
	if raw, err := json.Marshal(m.Headers); err != nil || len(raw) > maxDeadHeaders {
		letter.Headers = nil
	}
	body, err := events.Fit(letter, events.MaxDataBytes)
	if err != nil {
		return fmt.Errorf("encode a dead letter: %w", err)
	}
	id := fmt.Sprintf("%s-%d-%d-%s", m.Stream, m.Sequence, m.Time.UnixNano(), w.Host)
	return w.Publisher.PublishDeadLetter(ctx, events.DeadLetterSubject(w.Host), id, body)
}

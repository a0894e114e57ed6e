package dispatch

import (
	"encoding/json"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/ledger"
)

// maxOutcomeBytes bounds an item's outcome beside its event.
const maxOutcomeBytes = 32 << 10

// outcome is what came of an item as it lies in the ledger.
type outcome struct {
	Version int `json:"version"`
	// Outcome is an events.ItemOutcome.
	Outcome json.RawMessage `json:"outcome"`
	// Message is what is published of it; empty if nothing is.
	Message events.Message `json:"message,omitzero"`
}

// ending is the end of a job as it lies in the ledger.
type ending struct {
	Version int            `json:"version"`
	Message events.Message `json:"message"`
}

// message encodes an event of a job as it is published.
func (w *Worker) message(job string, ev event.Event) (events.Message, error) {
	return events.NewMessage(events.EventSubject(w.Host, job, ev.Type()), ev)
}

// encodeOutcome returns the stored form of an item's outcome and its event, which may
// be nil.
func (w *Worker) encodeOutcome(job string, o events.ItemOutcome, ev *event.Event) ([]byte, error) {
	var m events.Message
	if ev != nil {
		var err error
		if m, err = w.message(job, *ev); err != nil {
			return nil, err
		}
	}
	raw, err := events.Fit(o, maxOutcomeBytes)
	if err != nil {
		return nil, err
	}
	return ledger.Encode(outcome{Version: ledger.Version, Outcome: raw, Message: m})
}

// decodeOutcome reads the stored form of an item's outcome.
func decodeOutcome(job string, raw []byte) (o events.ItemOutcome, m events.Message, err error) {
	var stored outcome
	if err := ledger.Decode("an outcome of job "+job, raw, &stored); err != nil {
		return o, m, err
	}
	return o, stored.Message, json.Unmarshal(stored.Outcome, &o)
}

// encodeEnd returns the stored form of a job's terminal event.
func (w *Worker) encodeEnd(job string, ev event.Event) ([]byte, error) {
	m, err := w.message(job, ev)
	if err != nil {
		return nil, err
	}
	return ledger.Encode(ending{Version: ledger.Version, Message: m})
}

// decodeEnd reads the stored form of a job's terminal event.
func decodeEnd(raw []byte) (events.Message, error) {
	var stored ending
	err := ledger.Decode("the end of a job", raw, &stored)
	return stored.Message, err
}

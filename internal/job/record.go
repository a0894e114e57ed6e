package job

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

// encodeOutcome returns the stored form of an item's outcome and its event, which may
// be nil.
func (a *Attempt) encodeOutcome(o events.ItemOutcome, ev *event.Event) ([]byte, error) {
	var m events.Message
	if ev != nil {
		var err error
		if m, err = events.NewMessage(events.EventSubject(a.runner.Host, a.request.Job, ev.Type()), *ev); err != nil {
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
	if err := ledger.Decode("an outcome of job "+job, ledger.Version, raw, &stored); err != nil {
		return o, m, err
	}
	return o, stored.Message, json.Unmarshal(stored.Outcome, &o)
}

// EncodeEnd returns the stored form of a job's terminal event.
func EncodeEnd(host, job string, ev event.Event) ([]byte, error) {
	m, err := events.NewMessage(events.EventSubject(host, job, ev.Type()), ev)
	if err != nil {
		return nil, err
	}
	return ledger.Encode(ending{Version: ledger.Version, Message: m})
}

// DecodeEnd reads the stored form of a job's terminal event.
func DecodeEnd(raw []byte) (events.Message, error) {
	var stored ending
	err := ledger.Decode("the end of a job", ledger.Version, raw, &stored)
	return stored.Message, err
}

// endedCancelled reports whether a job's terminal event says that it was cancelled.
func endedCancelled(terminal []byte) bool {
	m, err := DecodeEnd(terminal)
	if err != nil {
		return false
	}
	ev, err := m.Event()
	if err != nil {
		return false
	}
	var data events.Ended
	return ev.DataAs(&data) == nil && data.Status == events.StatusCancelled
}

// DecodePlan reads the stored form of a plan into p, whose kind knows the forms up to
// known. It reports what [ledger.Decode] does.
func DecodePlan(raw []byte, known int, p Plan) (Plan, error) {
	if err := ledger.Decode("the stored plan", known, raw, p); err != nil {
		return nil, err
	}
	return p, nil
}

package dispatch

import (
	"encoding/json"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

// outcome is what came of an item as it lies in the ledger.
type outcome struct {
	Outcome events.ItemOutcome `json:"outcome"`
	Event   json.RawMessage    `json:"event"`
}

// record encodes an event for the ledger, in a form that does not change when it
// is encoded again within another document. What is published is always decoded
// from there, so that every repetition is the same byte for byte.
func record(ev event.Event) (json.RawMessage, error) {
	raw, err := json.Marshal(ev)
	if err == nil {
		raw, err = json.Marshal(json.RawMessage(raw))
	}
	if err != nil {
		return nil, fmt.Errorf("encode event %s for the ledger: %w", ev.ID(), err)
	}
	return raw, nil
}

// recorded decodes an event from the ledger.
func recorded(raw []byte) (event.Event, error) {
	var ev event.Event
	if err := json.Unmarshal(raw, &ev); err != nil {
		return event.Event{}, fmt.Errorf("an event in the ledger is damaged: %w", err)
	}
	return ev, nil
}

func decode[T any](raw []byte, what string) (T, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("%s in the ledger is damaged: %w", what, err)
	}
	return v, nil
}

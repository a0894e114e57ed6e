package events

import (
	"encoding/json"

	"github.com/cloudevents/sdk-go/v2/event"
)

// Message is an event as it is published, in binary mode. It is JSON where an event
// is kept until it is published, so that every repetition is the same byte for byte.
type Message struct {
	// ID is the event's id. The stream stores a message with the same id once within
	// two minutes.
	ID string `json:"id"`
	// Subject is where it is published.
	Subject string              `json:"subject"`
	Headers map[string][]string `json:"headers"`
	// Body is the event's data: compact JSON.
	Body json.RawMessage `json:"body"`
}

// NewMessage encodes an event for a subject. It shares the event's memory.
func NewMessage(subject string, ev event.Event) (Message, error) {
	headers, body, err := Encode(ev)
	return Message{ID: ev.ID(), Subject: subject, Headers: headers, Body: body}, err
}

// Event decodes the message. An error is a *[MalformedError].
func (m Message) Event() (event.Event, error) { return Decode(m.Headers, m.Body) }

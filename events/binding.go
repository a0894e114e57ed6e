package events

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"holdfast.io/holdfast/schemas/strictjson"
)

// Decode reads a CloudEvent from a NATS message, in either mode of the protocol
// binding. It is structured if its content type is application/cloudevents, or
// if it has no ce- header; otherwise it is binary. What the two modes can both
// say comes out the same: a time is in UTC, an extension is a string, and the
// content type of the data is there even if it was only implied. The source is
// kept letter for letter, since identities are made of it.
//
// The data must be JSON by its content type, but Decode does not look into it:
// see [ParseBackupRequest]. It shares body's memory. An error is a
// *[MalformedError].
//
// The SDK's own binding and JSON reader are not used: the one does not take
// header names in any letter case nor percent-decode their values, the other
// takes members that occur twice and events without an id.
func Decode(headers map[string][]string, body []byte) (event.Event, error) {
	var (
		ev  event.Event
		bad []Violation
	)
	contentType, attrs, err := readHeaders(headers)
	switch format := mediaType(contentType); {
	case err != nil:
		ev, _ = newEvent(attrs)
		bad = []Violation{{Message: err.Error()}}
	case format == structuredType || format == structuredType+"+json":
		ev, bad = readStructured(body)
	case isStructured(format):
		ev, _ = newEvent(attrs)
		bad = []Violation{{Message: fmt.Sprintf("comes as %s; send one event a message, as %s+json or in binary mode",
			strictjson.Quote(format), structuredType)}}
	case len(attrs) == 0:
		ev, bad = readStructured(body)
		bad = explainMode(bad)
	default:
		ev, bad = readBinary(contentType, attrs, body)
	}
	if len(bad) > 0 {
		return event.Event{}, &MalformedError{Event: ev, Violations: atMost(bad)}
	}
	return ev, nil
}

// explainMode says more of a message that was held to be structured only because
// it has no ce- headers.
func explainMode(bad []Violation) []Violation {
	switch {
	case slices.Contains(bad, missing(attrSpecVersion)):
		return []Violation{{Message: "has neither ce- headers nor a JSON body with specversion"}}
	case len(bad) > 0 && bad[0].Pointer == "":
		bad[0].Message = "has no ce- headers, and its body " + bad[0].Message
	}
	return bad
}

// Encode writes an event in binary mode. Attribute values are percent-encoded,
// and the content type of the data is an attribute like the others. The body
// shares the event's memory.
func Encode(ev event.Event) (headers map[string][]string, body []byte, err error) {
	if err := ev.Validate(); err != nil {
		return nil, nil, fmt.Errorf("not a valid CloudEvent: %w", err)
	}
	if v := ev.SpecVersion(); v != event.CloudEventsVersionV1 {
		return nil, nil, fmt.Errorf("a CloudEvent of version %s cannot be sent, only of %s", v, event.CloudEventsVersionV1)
	}
	attrs := map[string]string{
		attrSpecVersion: ev.SpecVersion(),
		attrID:          ev.ID(),
		attrSource:      ev.Source(),
		attrType:        ev.Type(),
	}
	optional := map[string]string{
		attrSubject:     ev.Subject(),
		attrDataSchema:  ev.DataSchema(),
		attrContentType: ev.DataContentType(),
	}
	if !ev.Time().IsZero() {
		optional[attrTime] = types.FormatTime(ev.Time())
	}
	for name, value := range optional {
		if value != "" {
			attrs[name] = value
		}
	}
	for name, value := range ev.Extensions() {
		if attrs[name], err = types.Format(value); err != nil {
			return nil, nil, fmt.Errorf("encode the extension %s: %w", name, err)
		}
	}
	headers = make(map[string][]string, len(attrs))
	for name, value := range attrs {
		headers[headerPrefix+name] = []string{encodeValue(value)}
	}
	return headers, ev.Data(), nil
}

// ExpiryTime returns the time after which an event is not to be acted on, or the
// zero time if the event does not say. Events that [Decode] accepted give no
// error.
func ExpiryTime(ev event.Event) (time.Time, error) {
	until, ok := ev.Extensions()[ExtExpiryTime]
	if !ok {
		return time.Time{}, nil
	}
	t, err := types.ToTime(until)
	if err != nil {
		return time.Time{}, fmt.Errorf("read %s: %w", ExtExpiryTime, err)
	}
	return t, nil
}

// structuredType begins the media types of whole events.
const structuredType = "application/cloudevents"

// mediaType returns a content type without its parameters, in lower case.
func mediaType(contentType string) string {
	media, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(media))
}

// isStructured reports whether a media type is one of whole events, in any
// format.
func isStructured(media string) bool { return strings.HasPrefix(media, structuredType) }

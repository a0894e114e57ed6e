package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"mime"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/cloudevents/sdk-go/v2/types"

	"holdfast.io/holdfast/schemas"
)

// Decode and Encode are the NATS protocol binding for CloudEvents. The SDK's own
// is not used: it neither percent-decodes header values nor takes their names in
// any letter case, as the specification asks for.

const (
	attributePrefix   = "ce-"
	contentTypeHeader = "content-type"
	structuredType    = "application/cloudevents"
	batchType         = "application/cloudevents-batch"
)

// MalformedError says why a message is no CloudEvent. It keeps what could be
// read of it.
type MalformedError struct {
	// Event is incomplete.
	Event event.Event
	Err   error
}

func (e *MalformedError) Error() string { return "not a valid CloudEvent: " + e.Err.Error() }
func (e *MalformedError) Unwrap() error { return e.Err }

// Correlatable reports whether the event's source and id are there and valid,
// so that whoever published it can be answered.
func (e *MalformedError) Correlatable() bool {
	return checkID("source", e.Event.Source()) == nil && checkID("id", e.Event.ID()) == nil
}

// Decode reads a CloudEvent in either mode. It is structured if the content type
// says so, or if there is no ce- header and the body is a JSON object with a
// specversion; otherwise it is binary. An error is a *MalformedError.
func Decode(headers map[string][]string, body []byte) (event.Event, error) {
	contentType, attributes, err := readHeaders(headers)
	if err == nil && isMediaType(contentType, batchType) {
		err = errors.New("a batch; send one event a message")
	}
	if err != nil {
		return event.Event{}, &MalformedError{Event: event.New(), Err: err}
	}
	var ev event.Event
	if isMediaType(contentType, structuredType) || len(attributes) == 0 && hasSpecVersion(body) {
		ev, err = decodeStructured(body)
	} else {
		ev, err = decodeBinary(contentType, attributes, body)
	}
	if err == nil {
		err = check(ev)
	}
	if err != nil {
		return event.Event{}, &MalformedError{Event: ev, Err: err}
	}
	return ev, nil
}

// readHeaders returns the content type and the attributes, decoded, by their
// lower-case names.
func readHeaders(headers map[string][]string) (contentType string, attributes map[string]string, err error) {
	attributes = map[string]string{}
	for _, header := range slices.Sorted(maps.Keys(headers)) {
		name := strings.ToLower(header)
		attribute, isAttribute := strings.CutPrefix(name, attributePrefix)
		if !isAttribute && name != contentTypeHeader {
			continue
		}
		values := headers[header]
		if _, again := attributes[attribute]; len(values) != 1 || isAttribute && again || !isAttribute && contentType != "" {
			return "", nil, fmt.Errorf("the header %s occurs %d times", name, max(len(values), 2))
		}
		if !isAttribute {
			contentType = values[0]
			continue
		}
		value, err := decodeValue(values[0])
		if err != nil {
			return "", nil, fmt.Errorf("the header %s %w", name, err)
		}
		attributes[attribute] = value
	}
	return contentType, attributes, nil
}

func decodeBinary(contentType string, attributes map[string]string, body []byte) (event.Event, error) {
	ev := event.New()
	if v, ok := attributes["specversion"]; !ok || v != event.CloudEventsVersionV1 {
		return ev, fmt.Errorf("specversion is %q; it must be %q, in a ce-specversion header or in a JSON body", v, event.CloudEventsVersionV1)
	}
	delete(attributes, "specversion")
	dataType := contentType
	if own, ok := attributes["datacontenttype"]; ok {
		dataType = own
		delete(attributes, "datacontenttype")
	}
	var errs error
	for _, name := range slices.Sorted(maps.Keys(attributes)) {
		if err := setAttribute(&ev, name, attributes[name]); err != nil {
			errs = errors.Join(errs, err)
		}
	}
	if errs != nil {
		return ev, errs
	}
	if len(body) > 0 {
		if err := checkContentType(dataType); err != nil {
			return ev, err
		}
		ev.SetDataContentType(event.ApplicationJSON)
		if dataType != "" {
			ev.SetDataContentType(dataType)
		}
		ev.DataEncoded = body
	} else if dataType != "" {
		ev.SetDataContentType(dataType)
	}
	return ev, nil
}

func setAttribute(ev *event.Event, name, value string) error {
	switch name {
	case "id":
		ev.SetID(value)
	case "source":
		ev.SetSource(value)
	case "type":
		ev.SetType(value)
	case "subject":
		ev.SetSubject(value)
	case "dataschema":
		ev.SetDataSchema(value)
	case "time":
		t, err := time.Parse(time.RFC3339, value)
		if err != nil {
			return fmt.Errorf("time %q is not an RFC 3339 time", value)
		}
		ev.SetTime(t)
	default:
		ev.SetExtension(name, value)
	}
	return ev.FieldErrors[name]
}

// hasSpecVersion reports whether the body is a JSON object with a specversion.
func hasSpecVersion(body []byte) bool {
	if schemas.CheckJSON(body) != nil {
		return false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(body, &members) != nil {
		return false
	}
	_, ok := members["specversion"]
	return ok
}

func decodeStructured(body []byte) (event.Event, error) {
	ev := event.New()
	if err := schemas.CheckJSON(body); err != nil {
		return ev, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(body, &members); err != nil {
		return ev, errors.New("the body is not a JSON object")
	}
	// Read what correlates first, so that it is there whatever else is wrong.
	text := func(name string) string {
		var s string
		_ = json.Unmarshal(members[name], &s)
		return s
	}
	partial := event.New()
	partial.SetID(text("id"))
	partial.SetSource(text("source"))
	partial.SetType(text("type"))
	if id := text(ExtCorrelationID); id != "" {
		partial.SetExtension(ExtCorrelationID, id)
	}
	if v := text("specversion"); v != event.CloudEventsVersionV1 {
		return partial, fmt.Errorf("specversion is %q; it must be %q", v, event.CloudEventsVersionV1)
	}
	if _, ok := members["data_base64"]; ok {
		return partial, errors.New("data_base64: the data must be JSON, in the member data")
	}
	if err := checkContentType(text("datacontenttype")); err != nil {
		return partial, err
	}
	if err := ev.UnmarshalJSON(body); err != nil {
		return partial, err
	}
	return ev, nil
}

// check holds an event against the specification and our bounds.
func check(ev event.Event) error {
	for name, value := range map[string]string{"id": ev.ID(), "source": ev.Source(), "type": ev.Type()} {
		if err := checkID(name, value); err != nil {
			return err
		}
	}
	if id, ok := ev.Extensions()[ExtCorrelationID]; ok {
		s, isString := id.(string)
		if !isString {
			return fmt.Errorf("%s is not a string", ExtCorrelationID)
		}
		if err := checkID(ExtCorrelationID, s); err != nil {
			return err
		}
	}
	if until, ok := ev.Extensions()[ExtExpiryTime]; ok {
		if _, err := ExpiryTime(ev); err != nil {
			return fmt.Errorf("%s is %q, not an RFC 3339 time", ExtExpiryTime, until)
		}
	}
	return ev.Validate()
}

// ExpiryTime returns the time after which the event is not to be acted on, or
// the zero time if it does not say.
func ExpiryTime(ev event.Event) (time.Time, error) {
	switch until := ev.Extensions()[ExtExpiryTime].(type) {
	case nil:
		return time.Time{}, nil
	case string:
		return time.Parse(time.RFC3339, until)
	default:
		return time.Time{}, fmt.Errorf("%s is not a time", ExtExpiryTime)
	}
}

// checkID refuses what cannot identify an event.
func checkID(name, value string) error {
	switch {
	case value == "":
		return fmt.Errorf("%s is missing", name)
	case len(value) > MaxIDBytes:
		return fmt.Errorf("%s has %d bytes; at most %d are allowed", name, len(value), MaxIDBytes)
	case !utf8.ValidString(value):
		return fmt.Errorf("%s is not UTF-8", name)
	case strings.ContainsFunc(value, unicode.IsControl):
		return fmt.Errorf("%s has control characters", name)
	}
	return nil
}

func checkContentType(value string) error {
	if value == "" {
		return nil
	}
	media, _, err := mime.ParseMediaType(value)
	if err != nil || media != event.ApplicationJSON && !strings.HasSuffix(media, "+json") {
		return fmt.Errorf("the data's content type is %q; it must be JSON", value)
	}
	return nil
}

// isMediaType reports whether a content type is of this media type, with or
// without a suffix and parameters.
func isMediaType(contentType, media string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(contentType)), media)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], "+; "))
}

// Encode writes an event in binary mode.
func Encode(ev event.Event) (headers map[string][]string, body []byte, err error) {
	if err := ev.Validate(); err != nil {
		return nil, nil, fmt.Errorf("not a valid CloudEvent: %w", err)
	}
	headers = map[string][]string{}
	set := func(name, value string) {
		if value != "" {
			headers[attributePrefix+name] = []string{encodeValue(value)}
		}
	}
	set("specversion", ev.SpecVersion())
	set("id", ev.ID())
	set("source", ev.Source())
	set("type", ev.Type())
	set("subject", ev.Subject())
	set("dataschema", ev.DataSchema())
	set("datacontenttype", ev.DataContentType())
	if !ev.Time().IsZero() {
		set("time", ev.Time().Format(time.RFC3339Nano))
	}
	for name, value := range ev.Extensions() {
		text, err := types.Format(value)
		if err != nil {
			return nil, nil, fmt.Errorf("extension %s: %w", name, err)
		}
		set(name, text)
	}
	return headers, ev.Data(), nil
}

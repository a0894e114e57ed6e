package events

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/schemas/strictjson"
)

// Members of an event in its JSON format that are not attributes.
const (
	memberData       = "data"
	memberDataBase64 = "data_base64"
)

// readStructured reads an event in the JSON format. Where the JSON itself is
// broken, that is the only violation, and the event has what stood before.
func readStructured(body []byte) (event.Event, []Violation) {
	members, broken := strictjson.Members(body)
	data, err := readData(members)
	delete(members, memberData)
	delete(members, memberDataBase64)
	attrs := attributes{}
	for name, raw := range members {
		if string(raw) != "null" { // null stands for an attribute that is not there
			attrs[name] = readMember(name, raw)
		}
	}
	ev, bad := newEvent(attrs)
	if broken, ok := errors.AsType[*strictjson.Error](broken); ok {
		return ev, []Violation{{Pointer: broken.Pointer, Message: broken.Message}}
	}
	if err != nil {
		bad = append(bad, Violation{Pointer: strictjson.Pointer(memberDataBase64), Message: err.Error()})
	}
	if len(bad) == 0 {
		ev.DataEncoded = data
	}
	return ev, bad
}

// readMember returns an attribute's text: as the binary mode would have it.
func readMember(name string, raw []byte) attribute {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		value = nil // a number that is too large
	}
	_, hasRule := checks[name]
	switch value := value.(type) {
	case string:
		return attribute{text: value}
	case bool:
		if !hasRule {
			return attribute{text: strconv.FormatBool(value)}
		}
	case float64:
		if n := int32(value); !hasRule && float64(n) == value {
			return attribute{text: strconv.Itoa(int(n))}
		}
	}
	if hasRule {
		return attribute{err: errors.New("must be a string")}
	}
	return attribute{err: errors.New("must be a string, a boolean or an integer of 32 bits")}
}

// readData returns the text of the data, nil if there is none.
func readData(members map[string][]byte) ([]byte, error) {
	encoded, ok := members[memberDataBase64]
	if !ok || string(encoded) == "null" {
		return members[memberData], nil
	}
	if _, ok := members[memberData]; ok {
		return nil, errors.New("cannot be there beside data")
	}
	var text *string
	if json.Unmarshal(encoded, &text) == nil && text != nil {
		if data, err := base64.StdEncoding.DecodeString(*text); err == nil {
			return data, nil
		}
	}
	return nil, errors.New("must be a string in base64")
}

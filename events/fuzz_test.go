package events_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/schemas/examples"
)

// FuzzDecode shows that no message makes Decode panic, and that an event which
// it accepts is the same after it was sent on.
func FuzzDecode(f *testing.F) {
	f.Add("ce-id: 1\nce-source: /s\nce-type: t\nce-specversion: 1.0", []byte(`{}`))
	f.Add("Ce-Id: %C3%BC\nCE-SOURCE: \"a b\"\nce-type: t\nce-specversion: 1.0\nce-time: 2026-03-02T15:15:03+01:00\nce-x: 100%",
		[]byte(`{"a":1}`))
	f.Add("content-type: application/cloudevents+json; charset=utf-8", []byte(structured))
	f.Add("content-type: application/cloudevents-batch+json", []byte("[]"))
	f.Add("", []byte(`{"specversion":"1.0","id":"1","source":"HTTP://x/?#","type":"t","data_base64":"e30=","x":true,"n":-1,"dataschema":"a:","time":"0001-01-01T00:00:00Z"}`))
	f.Add("ce-id: 1\nce-id: 2", []byte(nil))
	f.Fuzz(func(t *testing.T, lines string, body []byte) {
		h := headers{}
		for line := range strings.SplitSeq(lines, "\n") {
			name, value, _ := strings.Cut(line, ": ")
			h[name] = append(h[name], value)
		}
		ev, err := events.Decode(h, body)
		if err != nil {
			return
		}
		if err := ev.Validate(); err != nil {
			t.Fatalf("accepted, but the SDK finds it invalid: %v", err)
		}
		sent, data, err := events.Encode(ev)
		if err != nil {
			t.Fatalf("accepted, but cannot be encoded: %v", err)
		}
		back, err := events.Decode(sent, data)
		if err != nil {
			t.Fatalf("cannot be decoded again: %v", err)
		}
		if !reflect.DeepEqual(ev, back) {
			t.Fatalf("comes back as another event:\n%#v\n%#v", ev.Context, back.Context)
		}
	})
}

// parsers read the data of requests.
var parsers = map[events.Kind]func(raw []byte) (any, error){
	events.Backup:  parser(events.ParseBackupRequest),
	events.Restore: parser(events.ParseRestoreRequest),
	events.Verify:  parser(events.ParseVerifyRequest),
	events.Prune:   parser(events.ParsePruneRequest),
	events.Copy:    parser(events.ParseCopyRequest),
	events.Cancel:  parser(events.ParseCancelRequest),
}

func parser[T any](parse func(raw []byte) (*T, error)) func(raw []byte) (any, error) {
	return func(raw []byte) (any, error) { return parse(raw) }
}

// FuzzParseRequest shows that no data makes the reading of a request panic, and that
// one which is accepted is accepted, and the same, after it was encoded again.
func FuzzParseRequest(f *testing.F) {
	for i, kind := range events.Kinds {
		valid, err := examples.Valid(kind.RequestType())
		if err != nil {
			f.Fatal(err)
		}
		for _, raw := range valid {
			f.Add(uint8(i), raw)
		}
		invalid, err := examples.Invalid(kind.RequestType())
		if err != nil {
			f.Fatal(err)
		}
		for _, fault := range invalid {
			f.Add(uint8(i), fault.Data)
		}
	}
	f.Fuzz(func(t *testing.T, kind uint8, raw []byte) {
		parse := parsers[events.Kinds[int(kind)%len(events.Kinds)]]
		r, err := parse(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := parse(again)
		if err != nil {
			t.Fatalf("accepted, but %s is not: %v", again, err)
		}
		last, err := json.Marshal(back)
		if err != nil || string(last) != string(again) {
			t.Fatalf("%s comes back as %s, %v", again, last, err)
		}
	})
}

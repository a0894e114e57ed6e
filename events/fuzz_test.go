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

// FuzzParseBackupRequest shows that no data makes ParseBackupRequest panic, and
// that a request which it accepts is accepted, and the same, after it was
// encoded again.
func FuzzParseBackupRequest(f *testing.F) {
	valid, err := examples.Valid(events.Backup.RequestType())
	if err != nil {
		f.Fatal(err)
	}
	for _, raw := range valid {
		f.Add(raw)
	}
	invalid, err := examples.Invalid(events.Backup.RequestType())
	if err != nil {
		f.Fatal(err)
	}
	for _, fault := range invalid {
		f.Add(fault.Data)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := events.ParseBackupRequest(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		back, err := events.ParseBackupRequest(again)
		if err != nil {
			t.Fatalf("accepted, but %s is not: %v", again, err)
		}
		last, err := json.Marshal(back)
		if err != nil || string(last) != string(again) {
			t.Fatalf("%s comes back as %s, %v", again, last, err)
		}
	})
}

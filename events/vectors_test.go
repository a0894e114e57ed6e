package events_test

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
)

// vector is one attribute of an event, and how it may come.
type vector struct {
	Case             string
	Attribute, Value string
	// Encoded is the header of a sender that encodes it.
	Encoded string
	// Headers are those that one sender or another may send for it.
	Headers []struct {
		Header, Decoded string
		// Refused: what is decoded is not a value of the attribute.
		Refused bool
	}
	// Job is the id of the job, whichever way the event came.
	Job string
}

func (v vector) attributes(value string) (source, id string) {
	if v.Attribute == "source" {
		return value, "deploy-4711"
	}
	return "/ci/deploy", value
}

// The vectors were computed by another program. schemas/README.md shows them.
func bindingVectors(t *testing.T) []vector {
	t.Helper()
	raw, err := os.ReadFile("testdata/binding.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 {
		t.Fatal("vectors are missing")
	}
	return all
}

func TestAnEventIsOneJobInBothModes(t *testing.T) {
	for _, v := range bindingVectors(t) {
		source, id := v.attributes(v.Value)
		body, err := json.Marshal(map[string]any{"specversion": "1.0", "type": "t", "source": source, "id": id})
		if err != nil {
			t.Fatal(err)
		}
		ev, err := events.Decode(nil, body)
		if err != nil {
			t.Errorf("%s, structured: %v", v.Case, err)
			continue
		}
		if got := events.JobID(ev.Source(), ev.ID(), "web01"); got != v.Job || ev.Source() != source || ev.ID() != id {
			t.Errorf("%s, structured: %s, %s, job %s; want %s", v.Case, ev.Source(), ev.ID(), got, v.Job)
		}
		sent, _, err := events.Encode(ev)
		if err != nil || sent["ce-"+v.Attribute][0] != v.Encoded {
			t.Errorf("%s: encoded as %v, %v; want %s", v.Case, sent, err, v.Encoded)
		}
		for _, h := range v.Headers {
			ev, err := events.Decode(binary("ce-source", "/ci/deploy", "ce-id", "deploy-4711", "ce-"+v.Attribute, h.Header), nil)
			if h.Refused {
				if err == nil {
					t.Errorf("%s, %s: it is taken as %s, %s", v.Case, h.Header, ev.Source(), ev.ID())
				}
				continue
			}
			source, id := v.attributes(h.Decoded)
			if err != nil || ev.Source() != source || ev.ID() != id {
				t.Errorf("%s, %s: got %s, %s, %v; want %s, %s", v.Case, h.Header, ev.Source(), ev.ID(), err, source, id)
			} else if got := events.JobID(ev.Source(), ev.ID(), "web01"); got != v.Job {
				t.Errorf("%s, %s: job %s, want %s", v.Case, h.Header, got, v.Job)
			}
		}
	}
}

func TestTheGuideShowsTheVectors(t *testing.T) {
	raw, err := os.ReadFile("../schemas/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range bindingVectors(t) {
		for _, h := range v.Headers {
			decoded := "`" + h.Decoded + "`"
			if h.Refused {
				decoded = "refused"
			}
			row := "| `ce-" + v.Attribute + "` | `" + v.Value + "` | `" + h.Header + "` | " + decoded + " | `" + v.Job + "` |"
			if !strings.Contains(string(raw), row) {
				t.Errorf("missing: %s", row)
			}
		}
	}
}

func TestDataIsComparedByItsMeaning(t *testing.T) {
	digest := func(data string) string {
		ev, err := events.Decode(binary(), []byte(data))
		if err != nil {
			t.Fatal(err)
		}
		return events.RequestDigest(ev)
	}
	same := []string{
		`{"containers":{"names":["a","ü"],"all":true},"n":100}`,
		"{ \"n\" : 1e2,\r\n\t\"containers\": {\"all\": true, \"names\": [\"a\", \"\\u00fc\"]} }",
		`{"n":100.0,"containers":{"names":["\u0061","ü"],"all":true}}`,
	}
	for _, data := range same {
		if digest(data) != digest(same[0]) {
			t.Errorf("%s is taken for another request", data)
		}
	}
	for _, data := range []string{
		``, `null`, `{}`, `{"containers":{"names":["ü","a"],"all":true},"n":100}`, `{"containers":{"names":["a","ü"],"all":true},"n":101}`,
		`{"containers":{"names":["a","ü"],"all":true},"n":"100"}`, `{"containers":{"names":["a","ü"],"all":true},"n":100,"n":100}`,
		`{"containers":`,
	} {
		if digest(data) == digest(same[0]) {
			t.Errorf("%s is taken for the same request", data)
		}
	}
	// Data that is not JSON in one way only is compared as it is.
	if digest(`{"a":1,"a":1}`) == digest(`{"a":1, "a":1}`) {
		t.Error("members that occur twice have a meaning")
	}
	other, err := events.Decode(binary("ce-type", "t"), []byte(same[0]))
	if err != nil {
		t.Fatal(err)
	}
	if events.RequestDigest(other) == digest(same[0]) {
		t.Error("another type is taken for the same request")
	}
}

func TestIdentitiesEndWithAnything(t *testing.T) {
	long := "%" + strings.Repeat("25", 300) + "41"
	if got, want := events.JobID(long, long, "h"), events.JobID("A", "A", "h"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	ids := maps.Collect(func(yield func(string, bool) bool) {
		for _, id := range []string{"", "%", "%4", "%%41", "%00", `"`, `""`, `"\`, "\xff", "%ff"} {
			if !yield(events.JobID("/s", id, "h"), true) {
				return
			}
		}
	})
	if len(ids) != 8 { // "" and `""`, and "\xff" and "%ff", are two ways to write one thing each
		t.Errorf("%d ids", len(ids))
	}
}

func TestNoHostIsNamedAny(t *testing.T) {
	if events.ValidHostID(events.HostAny) || !events.ValidHostID(events.HostID(events.HostAny)) || events.ValidHostID("_41ny") {
		t.Error("a host can have the id that stands for any host")
	}
	if got := events.HostID("any"); got != "_61ny" {
		t.Errorf("got %s", got)
	}
	if _, _, err := events.ParseRequestSubject("holdfast.req.backup.host.any"); err == nil {
		t.Error("a request can be sent to a host named any")
	}
}

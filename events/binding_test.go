package events_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
)

type headers = map[string][]string

// binary returns the headers of a valid event in binary mode, with changes: an
// empty value takes a header away.
func binary(changes ...string) headers {
	h := headers{"ce-specversion": {"1.0"}, "ce-id": {"deploy-1842"}, "ce-source": {"/ci/deploy"}, "ce-type": {events.Backup.RequestType()}}
	for i := 0; i < len(changes); i += 2 {
		if delete(h, changes[i]); changes[i+1] != "" {
			h[changes[i]] = []string{changes[i+1]}
		}
	}
	return h
}

const structured = `{"specversion":"1.0","id":"deploy-1842","source":"/ci/deploy","type":"io.holdfast.backup.requested.v1","correlationid":"pipeline-77","data":{"containers":{"all":true}}}`

func TestBothModesGiveTheSameEvent(t *testing.T) {
	const data = `{"containers":{"all":true}}`
	all := binary("ce-correlationid", "pipeline-77", "ce-subject", "a b", "ce-time", "2026-03-02T15:15:03+01:00", "ce-dry", "true", "ce-attempt", "3")
	inJSON := strings.Replace(structured, `{`, `{"subject":"a b","time":"2026-03-02T15:15:03+01:00","dry":true,"attempt":3,"nothing":null,`, 1)
	inBase64 := strings.Replace(inJSON, `"data":`+data, `"data_base64":"eyJjb250YWluZXJzIjp7ImFsbCI6dHJ1ZX19"`, 1)
	mixedCase := headers{}
	for name, value := range all {
		mixedCase["Ce-"+strings.ToUpper(name[3:])] = value
	}
	structuredType := headers{"content-type": {"Application/CloudEvents+json; charset=utf-8"}}
	for name, m := range map[string]struct {
		headers headers
		body    string
	}{
		"binary":                                  {all, data},
		"binary, letter case":                     {mixedCase, data},
		"binary, content-type":                    {with(all, "Content-Type", "application/json"), data},
		"structured":                              {structuredType, inJSON},
		"structured, base64":                      {structuredType, inBase64},
		"structured, no headers":                  {nil, inJSON},
		"structured, JSON type":                   {headers{"Content-Type": {"application/json"}}, inJSON},
		"structured, copies of attributes beside": {with(all, "content-type", "application/cloudevents"), inJSON},
	} {
		ev, err := events.Decode(m.headers, []byte(m.body))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := fmt.Sprintln(ev.SpecVersion(), ev.ID(), ev.Source(), ev.Type(), ev.Subject(), ev.Time(), ev.DataContentType(), ev.Extensions(), string(ev.Data()))
		want := fmt.Sprintln("1.0", "deploy-1842", "/ci/deploy", events.Backup.RequestType(), "a b", time.Date(2026, 3, 2, 14, 15, 3, 0, time.UTC),
			"application/json", map[string]any{"correlationid": "pipeline-77", "dry": "true", "attempt": "3"}, data)
		if got != want {
			t.Errorf("%s:\n got %swant %s", name, got, want)
		}
		if err := ev.Validate(); err != nil {
			t.Errorf("%s: the SDK finds it invalid: %v", name, err)
		}
	}
}

func with(h headers, name, value string) headers {
	h = maps.Clone(h)
	h[name] = []string{value}
	return h
}

func TestHeaderValuesAreDecoded(t *testing.T) {
	for value, want := range map[string]string{
		"plain":                "plain",
		"a%20b":                "a b",
		"%C3%BC":               "ü",
		"%c3%bc":               "ü",
		"ü":                    "ü", // raw UTF-8, as the JavaScript SDK sends it
		"%61%62":               "ab",
		`"half`:                `"half`,
		`"two" "parts"`:        `"two" "parts"`,
		`"`:                    `"`,
		"100%25":               "100%",
		"100%":                 "100%",
		"%zz%4":                "%zz%4",
		"%2541":                "%41", // decoded once
		`"quoted text"`:        "quoted text",
		`"a \"b\" \\ c%20d"`:   `a "b" \ c d`,
		"application/x%2Bjson": "application/x+json",
	} {
		ev, err := events.Decode(binary("ce-id", value), nil)
		if err != nil || ev.ID() != want {
			t.Errorf("%s: got %q, %v; want %q", value, ev.ID(), err, want)
		}
	}
}

func TestASourceIsKeptLetterForLetter(t *testing.T) {
	for _, source := range []string{"/ci/deploy", "HTTP://Example.COM/%7euser", "urn:x:y", "/a%2Fb", "https://x/?", "x#", "a b/ü", "//", "mailto:a@b"} {
		got, err := events.Decode(binary("ce-source", strings.ReplaceAll(strings.ReplaceAll(source, "%", "%25"), " ", "%20")), nil)
		if err != nil || got.Source() != source {
			t.Errorf("%s: got %q, %v", source, got.Source(), err)
		}
	}
}

func TestMessagesThatAreNoEventsAreRefused(t *testing.T) {
	long := strings.Repeat("x", events.MaxIDBytes+1)
	in := func(old, new string) string { return strings.Replace(structured, old, new, 1) }
	tests := map[string]struct {
		headers headers
		body    string
		want    string
		answer  bool // source and id are known
	}{
		"nothing":                   {nil, "", "has no ce- headers, and its body is empty; a JSON value is expected", false},
		"text":                      {nil, "hello", "has no ce- headers, and its body is not JSON, at byte 0: invalid character 'h' at start of value", false},
		"a list":                    {nil, "[" + structured + "]", "has no ce- headers, and its body is not a JSON object", false},
		"an object":                 {nil, `{"containers":{}}`, "has neither ce- headers nor a JSON body with specversion", false},
		"no id":                     {binary("ce-id", ""), "{}", "/id is missing", false},
		"no source":                 {binary("ce-source", ""), "{}", "/source is missing", false},
		"no type":                   {binary("ce-type", ""), "{}", "/type is missing", true},
		"no specversion":            {binary("ce-specversion", ""), "{}", "/specversion is missing", true},
		"empty id":                  {headers{"ce-specversion": {"1.0"}, "ce-id": {""}, "ce-source": {"s"}, "ce-type": {"t"}}, "", "/id is empty", false},
		"blank source":              {binary("ce-source", "%20"), "", "/source is empty", false},
		"other specversion":         {binary("ce-specversion", "0.3"), "{}", `/specversion is "0.3"; it must be "1.0"`, true},
		"long id":                   {binary("ce-id", long), "{}", "/id has 1025 bytes; at most 1024 are allowed", false},
		"long source":               {binary("ce-source", long), "{}", "/source has 1025 bytes; at most 1024 are allowed", false},
		"long correlation id":       {binary("ce-correlationid", long), "{}", "/correlationid has 1025 bytes; at most 1024 are allowed", true},
		"control character in id":   {binary("ce-id", "a%0Ab"), "{}", "/id has a control character or a noncharacter", false},
		"control character in type": {binary("ce-type", "a%1Bb"), "{}", "/type has a control character or a noncharacter", true},
		"control character in C1":   {binary("ce-source", "a%C2%9Bb"), "{}", "/source has a control character or a noncharacter", false},
		"not UTF-8":                 {binary("ce-id", "%ff"), "{}", "/id is not UTF-8", false},
		"not UTF-8, raw":            {binary("ce-id", "\xff"), "{}", "/id is not UTF-8", false},
		"header twice":              {headers{"ce-specversion": {"1.0"}, "ce-id": {"1", "2"}, "ce-source": {"s"}, "ce-type": {"t"}}, "{}", "/id must be in exactly one header ce-id", false},
		"header in two cases":       {binary("Ce-Subject", "a", "ce-subject", "a"), "{}", "/subject must be in exactly one header ce-subject", true},
		"content type twice":        {binary("Content-Type", "application/json", "content-type", "application/json"), "{}", "has the header content-type more than once", true},
		"attribute name":            {binary("ce-job_id", "1"), "{}", `/job_id is not a name of an attribute: only lower-case letters and digits are allowed, and not "data"`, true},
		"attribute named data":      {binary("ce-data", "1"), "{}", `/data is not a name of an attribute: only lower-case letters and digits are allowed, and not "data"`, true},
		"text data":                 {binary("ce-datacontenttype", "text/plain"), "hello", `/datacontenttype is "text/plain"; the data must be JSON, as application/json`, true},
		"text data by content-type": {binary("content-type", "text/plain"), "hello", `/datacontenttype is "text/plain"; the data must be JSON, as application/json`, true},
		"bad content type":          {binary("ce-datacontenttype", "application/json;%20x"), "{}", `/datacontenttype is "application/json; x"; the data must be JSON, as application/json`, true},
		"bad time":                  {binary("ce-time", "today"), "{}", `/time is "today"; it must be an RFC 3339 time, such as 2026-01-02T15:04:05Z`, true},
		"bad expiry time":           {binary("ce-expirytime", "2026-03-02 15:00:00Z"), "{}", `/expirytime is "2026-03-02 15:00:00Z"; it must be an RFC 3339 time, such as 2026-01-02T15:04:05Z`, true},
		"expiry time out of range":  {binary("ce-expirytime", "0000-03-02T15:00:00Z"), "{}", `/expirytime is "0000-03-02T15:00:00Z"; its year must be from 1 to 9999`, true},
		"bad source":                {binary("ce-source", "%25zz"), "{}", "/source is not a URI-reference", false},
		"relative data schema":      {binary("ce-dataschema", "schema.json"), "{}", "/dataschema is not an absolute URI", true},
		"empty subject":             {headers{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "ce-source": {"s"}, "ce-type": {"t"}, "ce-subject": {""}}, "", "/subject is empty", true},
		"two faults":                {binary("ce-specversion", "2", "ce-expirytime", "x"), "{}", `/expirytime is "x"; it must be an RFC 3339 time, such as 2026-01-02T15:04:05Z; /specversion is "2"; it must be "1.0"`, true},
		"batch":                     {headers{"Content-Type": {"application/cloudevents-batch+json"}}, "[]", `comes as "application/cloudevents-batch+json"; send one event a message, as application/cloudevents+json or in binary mode`, false},
		"other format":              {headers{"content-type": {"application/cloudevents+avro"}}, "x", `comes as "application/cloudevents+avro"; send one event a message, as application/cloudevents+json or in binary mode`, false},
		"structured id a number":    {nil, in(`"deploy-1842"`, "1842"), "/id must be a string", false},
		"structured type null":      {nil, in(`"io.holdfast.backup.requested.v1"`, "null"), "/type is missing", true},
		"structured upper case":     {nil, in(`"correlationid"`, `"correlationId"`), `/correlationId is not a name of an attribute: only lower-case letters and digits are allowed, and not "data"`, true},
		"structured object":         {nil, in(`"pipeline-77"`, "{}"), "/correlationid must be a string", true},
		"structured fraction":       {nil, in(`"data":`, `"x":1.5,"data":`), "/x must be a string, a boolean or an integer of 32 bits", true},
		"structured large number":   {nil, in(`"data":`, `"x":2147483648,"data":`), "/x must be a string, a boolean or an integer of 32 bits", true},
		"structured id twice":       {nil, in(`{`, `{"id":"deploy-1842",`), "/id occurs twice", false},
		"structured cut short":      {nil, structured[:len(structured)-4], "/data/containers/all is not JSON, at byte 164: unexpected EOF", true},
		"structured both data":      {nil, in(`"data":`, `"data_base64":"e30=","data":`), "/data_base64 cannot be there beside data", true},
		"structured not base64":     {nil, in(`"data":{"containers":{"all":true}}`, `"data_base64":"*"`), "/data_base64 must be a string in base64", true},
		"structured too deep":       {nil, in(`{"all":true}`, strings.Repeat("[", 100_000)), "has no ce- headers, and its body is nested deeper than 64 levels, at byte 217", true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := events.Decode(test.headers, []byte(test.body))
			bad, ok := errors.AsType[*events.MalformedError](err)
			if !ok {
				t.Fatalf("got %v", err)
			}
			if got := strings.TrimPrefix(err.Error(), "not a valid CloudEvent: "); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
			if bad.Correlatable() != test.answer {
				t.Errorf("Correlatable is %v; source %q, id %q", bad.Correlatable(), bad.Event.Source(), bad.Event.ID())
			}
		})
	}
}

func TestARefusedEventKeepsWhatCorrelatesIt(t *testing.T) {
	trace := "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
	for name, m := range map[string]struct {
		headers headers
		body    string
	}{
		"binary":     {binary("ce-correlationid", "pipeline-77", "ce-traceparent", trace, "ce-time", "yesterday"), "{}"},
		"structured": {nil, strings.Replace(structured, `{`, `{"traceparent":"`+trace+`","time":0,`, 1)},
		"cut short":  {nil, strings.Replace(structured, `{`, `{"traceparent":"`+trace+`",`, 1)[:230]},
	} {
		_, err := events.Decode(m.headers, []byte(m.body))
		bad, ok := errors.AsType[*events.MalformedError](err)
		if !ok {
			t.Fatalf("%s: got %v", name, err)
		}
		got := fmt.Sprint(bad.Event.ID(), " ", bad.Event.Source(), " ", bad.Event.Type(), " ", bad.Event.Extensions())
		want := fmt.Sprint("deploy-1842 /ci/deploy ", events.Backup.RequestType(), " ", map[string]any{"correlationid": "pipeline-77", "traceparent": trace})
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
		if bad.Event.Data() != nil {
			t.Errorf("%s: the event has data", name)
		}
	}
}

func TestNestingCostsNothing(t *testing.T) {
	for _, open := range []string{"[", `{"a":`} {
		body := []byte(strings.Replace(structured, `{"all":true}`, strings.Repeat(open, 100_000), 1))
		if n := testing.AllocsPerRun(1, func() { _, _ = events.Decode(nil, body) }); n > 1000 {
			t.Errorf("%s: %v allocations", open, n)
		}
	}
}

func TestManyFaultsOfAnEventAreCounted(t *testing.T) {
	h := binary()
	for i := range 200 {
		h[fmt.Sprintf("ce-x_%d", i)] = []string{"1"}
	}
	_, err := events.Decode(h, nil)
	bad, ok := errors.AsType[*events.MalformedError](err)
	if !ok || len(bad.Violations) != 50 || bad.Violations[49].Message != "and 151 more" {
		t.Errorf("got %v", err)
	}
}

func TestEncodeWritesBinaryMode(t *testing.T) {
	ev := event.New()
	ev.SetID(`50% "über"`)
	ev.SetSource("/holdfast/web01")
	ev.SetType(events.Backup.ResultType(events.ResultAccepted))
	ev.SetSubject("web-1")
	ev.SetTime(time.Date(2026, 3, 2, 15, 15, 3, 5e6, time.FixedZone("", 3600)))
	ev.SetDataSchema("https://holdfast.io/schemas/x")
	ev.SetExtension("attempt", 3)
	if err := ev.SetData(event.ApplicationJSON, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	h, body, err := events.Encode(ev)
	if err != nil {
		t.Fatal(err)
	}
	want := headers{
		"ce-specversion": {"1.0"}, "ce-id": {"50%25%20%22%C3%BCber%22"}, "ce-source": {"/holdfast/web01"}, "ce-type": {events.Backup.ResultType(events.ResultAccepted)},
		"ce-subject": {"web-1"}, "ce-time": {"2026-03-02T14:15:03.005Z"}, "ce-dataschema": {"https://holdfast.io/schemas/x"},
		"ce-datacontenttype": {"application/json"}, "ce-attempt": {"3"},
	}
	if fmt.Sprint(h) != fmt.Sprint(want) || string(body) != `{"a":1}` {
		t.Errorf("\n got %v %s\nwant %v", h, body, want)
	}
}

func TestEncodeRefusesWhatIsNoEvent(t *testing.T) {
	old := event.New(event.CloudEventsVersionV03)
	old.SetID("1")
	old.SetSource("s")
	old.SetType("t")
	for name, ev := range map[string]event.Event{"zero": {}, "new": event.New(), "old": old} {
		if _, _, err := events.Encode(ev); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestExpiryTimeIsRead(t *testing.T) {
	ev := event.New()
	if got, err := events.ExpiryTime(ev); !got.IsZero() || err != nil {
		t.Errorf("none: got %v, %v", got, err)
	}
	want := time.Date(2026, 3, 2, 15, 0, 0, 0, time.UTC)
	for _, value := range []any{"2026-03-02T16:00:00+01:00", want} {
		ev.SetExtension(events.ExtExpiryTime, value)
		if got, err := events.ExpiryTime(ev); !got.Equal(want) || err != nil {
			t.Errorf("%v: got %v, %v", value, got, err)
		}
	}
	ev.SetExtension(events.ExtExpiryTime, "soon")
	if got, err := events.ExpiryTime(ev); err == nil {
		t.Errorf("soon: got %v", got)
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
)

// publish sends a backup request as an outside publisher would, in structured
// mode.
func publish(t *testing.T, js jetstream.JetStream, subject, id, data string) {
	t.Helper()
	body := fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":"io.holdfast.backup.requested.v1","data":%s}`, id, data)
	if _, err := js.Publish(context.Background(), subject, []byte(body)); err != nil {
		t.Fatal(err)
	}
}

// TestBadInput sends a real worker everything that a publisher should not send:
// each message ends as exactly one dead letter, as a rejection if there is
// enough to answer to, and is not delivered again; and the worker goes on.
func TestBadInput(t *testing.T) {
	machineEngine(t)
	p, js, host := serve(t)
	subject := "holdfast.req.backup.host." + host
	structured := func(id, eventType, data string) string {
		return fmt.Sprintf(`{"specversion":"1.0","id":%q,"source":"/test","type":%q,"data":%s}`, id, eventType, data)
	}
	request := func(id, data string) string { return structured(id, "io.holdfast.backup.requested.v1", data) }
	const all = `{"containers":{"all":true}}`

	tests := []struct {
		name, subject, body string
		headers             nats.Header
		reason              events.Reason
		answered            string // the id that the rejection answers to
		pointer             string
	}{
		{name: "empty", body: "", reason: events.ReasonMalformed},
		{name: "not JSON", body: "hello", reason: events.ReasonMalformed},
		{name: "binary rubbish", body: "\x00\xff\xfe", reason: events.ReasonMalformed},
		{name: "JSON but no CloudEvent", body: `{"containers":{"all":true}}`, reason: events.ReasonMalformed},
		{name: "a JSON array", body: `[1,2]`, reason: events.ReasonMalformed},
		{name: "no id", body: `{"specversion":"1.0","source":"/test","type":"io.holdfast.backup.requested.v1","data":{}}`,
			reason: events.ReasonMalformed},
		{name: "no source", body: `{"specversion":"1.0","id":"x","type":"io.holdfast.backup.requested.v1","data":{}}`,
			reason: events.ReasonMalformed},
		{name: "an id over 1 KiB", body: request(strings.Repeat("x", 1025), all), reason: events.ReasonMalformed},
		{name: "control characters in the id", body: request("a\nb", all), reason: events.ReasonMalformed},
		{name: "another specversion", body: strings.Replace(request("spec", all), `"1.0"`, `"0.3"`, 1),
			reason: events.ReasonMalformed, answered: "spec"},
		{name: "data that is not JSON", headers: nats.Header{
			"ce-specversion": {"1.0"}, "ce-id": {"text"}, "ce-source": {"/test"},
			"ce-type": {"io.holdfast.backup.requested.v1"}, "Content-Type": {"text/plain"}},
			body: "hello", reason: events.ReasonMalformed, answered: "text"},
		{name: "a repeated header", headers: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"a"}, "Ce-Id": {"b"}, "ce-source": {"/test"},
			"ce-type": {"io.holdfast.backup.requested.v1"}}, body: all, reason: events.ReasonMalformed},
		{name: "100,000 levels deep", body: request("deep", strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)),
			reason: events.ReasonMalformed},
		{name: "100,000 levels deep in binary mode", headers: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"deepbin"}, "ce-source": {"/test"},
			"ce-type": {"io.holdfast.backup.requested.v1"}}, body: strings.Repeat("[", 100_000), reason: events.ReasonInvalid, answered: "deepbin"},
		{name: "a repeated member of the event",
			body:   `{"id":"a","id":"b","specversion":"1.0","source":"/test","type":"io.holdfast.backup.requested.v1"}`,
			reason: events.ReasonMalformed},

		{name: "an unknown type", body: structured("type", "com.example.hello", "{}"), reason: events.ReasonUnknownType, answered: "type"},
		{name: "a result as a request", body: structured("result", "io.holdfast.backup.completed.v1", "{}"),
			reason: events.ReasonUnknownType, answered: "result"},
		{name: "a kind on another kind's subject", body: structured("kind", "io.holdfast.prune.requested.v1", "{}"),
			reason: events.ReasonKindMismatch, answered: "kind"},
		{name: "a kind that may not go to all", subject: "holdfast.req.restore.all",
			body: structured("all", "io.holdfast.restore.requested.v1", "{}"), reason: events.ReasonKindMismatch, answered: "all"},
		{name: "a backup to any host", subject: "holdfast.req.backup.any", body: request("any", all),
			reason: events.ReasonKindMismatch, answered: "any"},
		{name: "a kind that the host does not allow", subject: "holdfast.req.restore.host." + host,
			body:   structured("not-allowed", "io.holdfast.restore.requested.v1", `{"points":["20261122T222558Z-1a0b5fe3"]}`),
			reason: events.ReasonPolicy, answered: "not-allowed"},
		{name: "a restore of nothing", subject: "holdfast.req.restore.host." + host,
			body: structured("nothing", "io.holdfast.restore.requested.v1", "{}"), reason: events.ReasonInvalid, answered: "nothing"},
		{name: "expired", body: strings.Replace(request("old", all), `"data"`, `"expirytime":"2020-01-01T00:00:00Z","data"`, 1),
			reason: events.ReasonExpired, answered: "old"},

		{name: "no data", body: `{"specversion":"1.0","id":"nodata","source":"/test","type":"io.holdfast.backup.requested.v1"}`,
			reason: events.ReasonInvalid, answered: "nodata"},
		{name: "an empty selection", body: request("empty", `{}`), reason: events.ReasonInvalid, answered: "empty"},
		{name: "only an exclusion", body: request("excl", `{"containers":{"exclude":["x"]}}`), reason: events.ReasonInvalid, answered: "excl"},
		{name: "an unknown member", body: request("unknown", `{"contaners":{"all":true}}`), reason: events.ReasonInvalid,
			answered: "unknown", pointer: "/contaners"},
		{name: "a member in another case", body: request("case", `{"CONTAINERS":{"all":true}}`), reason: events.ReasonInvalid,
			answered: "case", pointer: "/CONTAINERS"},
		{name: "a member of the wrong type", body: request("wrong", `{"containers":{"all":"yes"}}`), reason: events.ReasonInvalid,
			answered: "wrong", pointer: "/containers/all"},
		{name: "a repeated member, in binary mode", headers: nats.Header{"ce-specversion": {"1.0"}, "ce-id": {"twice"}, "ce-source": {"/test"},
			"ce-type": {"io.holdfast.backup.requested.v1"}}, body: `{"containers":{"all":true,"all":true}}`,
			reason: events.ReasonInvalid, answered: "twice", pointer: "/containers/all"},
		{name: "a bad expression", body: request("re", `{"containers":{"match":["a","["]}}`), reason: events.ReasonInvalid,
			answered: "re", pointer: "/containers/match/1"},
		{name: "a bad duration", body: request("dur", `{"containers":{"all":true},"timeout":"soon"}`),
			reason: events.ReasonInvalid, answered: "dur", pointer: "/timeout"},
		{name: "control characters in a name", body: request("ctl", `{"containers":{"names":["a\u001b[31m"]}}`),
			reason: events.ReasonInvalid, answered: "ctl", pointer: "/containers/names/0"},
		{name: "unknown sinks", body: request("sinks", `{"containers":{"all":true},"sinks":["a","b"]}`),
			reason: events.ReasonUnknownSink, answered: "sinks", pointer: "/sinks/0"},
		{name: "an unknown sink", body: request("sink", `{"containers":{"all":true},"sink":"nosuch"}`),
			reason: events.ReasonUnknownSink, answered: "sink", pointer: "/sink"},
		{name: "a quiesce mode that the host forbids", body: request("stop", `{"containers":{"all":true},"quiesce":"stop"}`),
			reason: events.ReasonPolicy, answered: "stop", pointer: "/quiesce"},
		{name: "as large as the stream takes", body: request("large", `{"x":"`+strings.Repeat("x", 255<<10)+`"}`),
			reason: events.ReasonInvalid, answered: "large"},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			m := &nats.Msg{Subject: subject, Header: test.headers, Data: []byte(test.body)}
			if test.subject != "" {
				m.Subject = test.subject
			}
			ack, err := js.PublishMsg(context.Background(), m)
			if err != nil {
				t.Fatal(err)
			}
			letter := deadLetter(t, js, i+1)
			if letter.Reason != test.reason || letter.Stream != ack.Stream || letter.Sequence != ack.Sequence || letter.Subject != m.Subject {
				t.Errorf("the dead letter is %s of %s %d on %s, with %v", letter.Reason, letter.Stream, letter.Sequence, letter.Subject, letter.Errors)
			}
			if want := test.body[:min(len(test.body), 64<<10)]; !bytes.Equal(letter.Body, []byte(want)) || letter.Size != int64(len(test.body)) {
				t.Errorf("the dead letter holds %d of %d bytes", len(letter.Body), letter.Size)
			}
			if !slices.ContainsFunc(letter.Errors, func(v events.Violation) bool { return test.pointer == "" || v.Pointer == test.pointer }) {
				t.Errorf("the errors are %v, none of them at %s", letter.Errors, test.pointer)
			}
			rejected := 0
			if test.answered != "" {
				rejected = 1
			}
			of := host
			if strings.HasSuffix(m.Subject, ".any") {
				of = events.HostAny
			}
			rejections := "holdfast.evt." + host + "." + events.JobID("/test", test.answered, of) + ".request.rejected"
			if got := messages(t, js, events.StreamEvents, rejections); got != rejected {
				t.Errorf("%d rejections, not %d", got, rejected)
			}
		})
	}
	t.Run("nothing is left to be delivered again", func(t *testing.T) {
		for _, name := range []string{"host_" + host, "cancel_" + host, "any"} {
			eventually(t, name+" has nothing outstanding", func() bool {
				c, err := js.Consumer(context.Background(), events.StreamRequests, name)
				if err != nil {
					t.Fatal(err)
				}
				info := c.CachedInfo()
				return info.NumAckPending == 0 && info.NumPending == 0
			})
		}
		if n := messages(t, js, events.StreamRequests, ">"); n != 0 {
			t.Errorf("%d requests are still in the stream", n)
		}
		if n := messages(t, js, events.StreamDLQ, ">"); n != len(tests) {
			t.Errorf("%d dead letters for %d messages", n, len(tests))
		}
	})
	t.Run("the worker goes on", func(t *testing.T) {
		publish(t, js, subject, "good", `{"containers":{"match":["^holdfast-no-such-"]},"dryRun":true}`)
		eventually(t, "a good request is planned", func() bool {
			return messages(t, js, events.StreamEvents, "holdfast.evt.*.*.backup.planned") == 1
		})
		select {
		case err := <-p.exited:
			t.Fatalf("the worker ended: %v", err)
		default:
		}
	})
	t.Run("a message over the limit has no place", func(t *testing.T) {
		_, err := js.Publish(context.Background(), subject, make([]byte, 256<<10+1))
		if err == nil {
			t.Error("it was stored")
		}
	})
}

// deadLetter returns the nth dead letter.
func deadLetter(t *testing.T, js jetstream.JetStream, n int) events.DeadLetter {
	t.Helper()
	var letter events.DeadLetter
	eventually(t, "the dead letter is stored", func() bool {
		s, err := js.Stream(context.Background(), events.StreamDLQ)
		if err != nil {
			t.Fatal(err)
		}
		m, err := s.GetMsg(context.Background(), uint64(n))
		if err != nil {
			return false
		}
		if err := json.Unmarshal(m.Data, &letter); err != nil {
			t.Fatal(err)
		}
		return true
	})
	return letter
}

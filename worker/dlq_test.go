package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
)

// bury stores a dead letter of a host. It is numbered from 1 on.
func (f *testFleet) bury(host string, l events.DeadLetter) {
	f.Helper()
	l.Time, l.Stream, l.Sequence = time.Now(), events.StreamRequests, 4711
	raw, err := json.Marshal(l)
	if err == nil {
		err = f.bus.PublishDeadLetter(f.Context(), events.DeadLetterSubject(host), fmt.Sprint(host, l.Digest, l.Size), raw)
	}
	if err != nil {
		f.Fatal(err)
	}
}

// letterOf is a dead letter with a body.
func letterOf(subject, body string) events.DeadLetter {
	sum := sha256.Sum256([]byte(body))
	return events.DeadLetter{
		Reason: events.ReasonUnknownSink, Errors: []events.Violation{{Pointer: "/sink", Message: "no sink \"offsite\" is configured"}},
		Subject: subject, Size: int64(len(body)), Digest: "sha256:" + hex.EncodeToString(sum[:]), Body: []byte(body),
	}
}

func TestDeadLettersAreShownAndReplayed(t *testing.T) {
	f := newFleet(t)
	f.enrol("web02")
	f.serve("web01", "a")
	const request = `{"specversion":"1.0","type":"io.holdfast.backup.requested.v1","source":"/ci","id":"deploy-1",` +
		`"expirytime":"2026-01-01T00:00:00Z","data":{"containers":{"names":["a"]}}}`
	f.bury("web01", letterOf(events.HostSubject(events.Backup, "web01"), request))
	f.bury("web02", letterOf(events.HostSubject(events.Backup, "web02"), "hello\x1b[2J"))
	cut := letterOf(events.HostSubject(events.Backup, "web02"), request+strings.Repeat(" ", 100))
	cut.Body = cut.Body[:64]
	f.bury("web02", cut)
	f.bury("web02", letterOf(events.HostSubject(events.Backup, "web02"), request))

	f.expect(0, []string{"SEQ  TIME", "web01  unknown_sink  io.holdfast.backup.requested.v1  deploy-1  /sink no sink \"offsite\" is configured", "  3  2"}, "dlq", "list")
	if output, _ := f.run("dlq", "list", "--host", "web02", "--json"); strings.Count(output, "\n") != 3 || strings.Contains(output, `"host":"web01"`) {
		t.Errorf("the letters of one host:\n%s", output)
	}
	f.expect(0, []string{`"letter": 1`, `"host": "web01"`, `"sequence": 4711`, `"text": "{\"specversion\"`}, "dlq", "show", "1")
	f.expect(exitFailed, []string{"there is no such dead letter"}, "dlq", "show", "9")
	f.expect(exitUsage, []string{`"x" is no number`}, "dlq", "show", "x")
	f.expect(exitUsage, []string{"list, show or replay"}, "dlq")
	f.expect(exitUsage, []string{"dlq replay --help"}, "dlq", "replay")

	f.expect(0, []string{"request ", ", job ", "succeeded: 1 stored"}, "dlq", "replay", "1")
	output, status := f.run("dlq", "replay", "1", "--json")
	if status != 0 || !strings.Contains(output, `"correlationid":"deploy-1"`) {
		t.Errorf("exit status %d:\n%s", status, output)
	}
	f.expect(0, []string{"request ", ", job "}, "dlq", "replay", "1", "--detach")

	f.expect(exitFailed, []string{"replay dead letter 2: the letter's message is no request that can be sent again"}, "dlq", "replay", "2")
	f.expect(exitFailed, []string{"replay dead letter 3: the letter holds only the first 64 of "}, "dlq", "replay", "3")
	f.expect(exitPartial, []string{"no worker serves host web02", "has not begun"}, "dlq", "replay", "4", "--wait", "200ms")
}

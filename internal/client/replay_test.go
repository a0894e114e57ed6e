package client

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
)

// letter is a dead letter of a request in structured mode.
func letter(body string) events.DeadLetter {
	sum := sha256.Sum256([]byte(body))
	return events.DeadLetter{Body: []byte(body), Size: int64(len(body)), Digest: "sha256:" + hex.EncodeToString(sum[:])}
}

var asker = Client{Source: "/test"}

const (
	attributes = `"specversion":"1.0","type":"io.holdfast.backup.requested.v1","source":"/ci","id":"deploy-1","expirytime":"2026-01-01T00:00:00Z","traceparent":"00-1-2-01"`
	data       = `{"containers": {"names": ["web-1"]}}`
)

func TestReplayHasANewIDAndTheOldData(t *testing.T) {
	for own, want := range map[string]string{"": "deploy-1", `,"correlationid":"pipeline-1"`: "pipeline-1"} {
		ev, err := asker.replayOf(letter(`{` + attributes + own + `,"data":` + data + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if err := ev.Validate(); err != nil {
			t.Error(err)
		}
		if ev.ID() == "" || ev.ID() == "deploy-1" || ev.Source() != asker.Source || ev.Type() != events.Backup.RequestType() || string(ev.Data()) != data {
			t.Errorf("got %s", ev)
		}
		if got := ev.Extensions(); len(got) != 2 || got[events.ExtCorrelationID] != want || got[events.ExtTraceParent] != "00-1-2-01" {
			t.Errorf("got the extensions %v", got)
		}
	}
}

func TestReplayIsRefused(t *testing.T) {
	whole := letter(`{` + attributes + `,"data":` + data + `}`)
	cut, damaged := whole, whole
	cut.Body = cut.Body[:10]
	damaged.Body = []byte(strings.ReplaceAll(string(whole.Body), "web-1", "web-2"))
	for want, l := range map[string]events.DeadLetter{
		"only the first 10 of": cut,
		"digest":               damaged,
		"no request that can":  letter("hello"),
	} {
		if _, err := asker.replayOf(l); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

package dispatch

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/point"
)

// mounted is an Engine whose containers have many mounts.
type mounted struct {
	*enginetest.Fake
	mounts int
}

func (m mounted) Inspect(ctx context.Context, id string) (*engine.ContainerDetail, error) {
	d, err := m.Fake.Inspect(ctx, id)
	if err == nil {
		for i := range m.mounts {
			d.Mounts = append(d.Mounts, engine.Mount{Type: "bind", Source: "/tmp", Destination: "/" + strings.Repeat("d", 200) + fmt.Sprint("/", i)})
		}
	}
	return d, err
}

// A job ends, and every document of it is below what a message server takes by
// default: the server and the store of these tests refuse more. The whole stands in
// the manifest.
func TestEveryDocumentIsBounded(t *testing.T) {
	angle := strings.Repeat("<", 1000)
	for name, c := range map[string]struct {
		containers, mounts int
		name               string // of each container, before its number
		data               string
	}{
		"4000 mounts":                    {1, 4000, "web", allContainers},
		"100 containers with 50 mounts":  {100, 50, "web", allContainers},
		"100 at one point in time":       {100, 50, "web", allTogether},
		"a pattern that JSON may escape": {200, 0, "web", `{"containers": {"match": ["` + angle + `|^web"]}, "dryRun": true}`},
		"a name that JSON must escape":   {20, 0, strings.Repeat("\x01\xff", 20_000), allContainers},
		"labels that no reason can hold": {200, 0, "web",
			`{"containers": {"labels": [` + strings.Repeat(`"a=`+angle+`",`, 200) + `"a"]}, "dryRun": true}`},
		"names that are not there":           {1, 0, "web", `{"containers": {"names": ["` + strings.Join(manyNames(1000), `","`) + `"]}}`},
		"more than are listed":               {events.MaxListed + 1, 1, "web", `{"containers": {"all": true}, "quiesce": "none"}`},
		"600 containers, and only a dry run": {600, 0, strings.Repeat("w", 200), `{"containers": {"all": true}, "dryRun": true}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			withHost(t, 4, func(h *host) {
				h.backups.Runner.Engine = mounted{h.engine, c.mounts}
				h.runner.Jobs.Store = small{h.store}
				for i := range c.containers {
					h.engine.Add(enginetest.Spec{Name: c.name + fmt.Sprint(i), Image: baseImage, Labels: map[string]string{"a": angle}},
						events.StateRunning)
				}
				h.start()
				s := h.do(h.backup(c.data))
				if s.verb != "done" {
					h.Fatalf("the message was settled with %s", s.verb)
				}
				last := h.server.published()[len(h.server.published())-1]
				if !events.Terminal(last.Type()) {
					h.Fatalf("the last event is %s", last.Type())
				}
				if ended := h.ended(); c.mounts > 0 && (ended.Status != events.StatusSucceeded || ended.NotIncluded != c.containers*c.mounts ||
					len(ended.Items)+ended.ItemsOmitted != c.containers) {
					h.Errorf("it ended %s, with %d mounts not included, and %d items of %d", ended.Status, ended.NotIncluded,
						len(ended.Items), c.containers)
				}
				for path, raw := range h.sink.Contents() {
					if !strings.HasSuffix(path, "/manifest.json") {
						continue
					}
					if m, err := point.Decode([]byte(raw)); err != nil || len(m.NotIncluded) != c.mounts {
						h.Errorf("the manifest %s names %d mounts, %v", path, len(m.NotIncluded), err)
					}
				}
			})
		})
	}
}

func manyNames(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("gone-%d-%s", i, strings.Repeat("é", 500))
	}
	return names
}

// small is a store that takes what a message server does.
type small struct{ ledger.Store }

func (s small) Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (uint64, error) {
	if len(value)+len(key)+256 > maxPayload {
		return 0, fmt.Errorf("%s: %d bytes: %w", key, len(value), ledger.ErrTooLarge)
	}
	return s.Store.Put(ctx, key, value, expected, ttl)
}

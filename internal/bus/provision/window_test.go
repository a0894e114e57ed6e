package provision_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/provision"
)

// requestStreams are the streams that must take a message with any message id,
// and a subject of each of two hosts or twice that of all.
var requestStreams = map[string][2]string{
	events.StreamRequests:  {"holdfast.req.backup.host.web01", "holdfast.req.backup.host.web02"},
	events.StreamBroadcast: {"holdfast.req.backup.all", "holdfast.req.backup.all"},
}

// swallows publishes to two subjects with one message id, as fast as it can, and
// again, and reports how many of the messages the stream did not store.
func swallows(t *testing.T, js jetstream.JetStream, stream string) int {
	t.Helper()
	before := bustest.Messages(t, js, stream)
	var acks []jetstream.PubAckFuture
	for range 3 {
		for _, subject := range requestStreams[stream] {
			ack, err := js.PublishMsgAsync(&nats.Msg{Subject: subject, Header: nats.Header{jetstream.MsgIDHeader: {"deploy-4711"}}})
			if err != nil {
				t.Fatal(err)
			}
			acks = append(acks, ack)
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			t.Fatal(err)
		}
	}
	return len(acks) - int(bustest.Messages(t, js, stream)-before)
}

func hasNoWindow(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	for stream := range requestStreams {
		if n := swallows(t, js, stream); n > 0 {
			t.Errorf("%s swallows %d of 6 messages with one message id", stream, n)
		}
	}
}

// Publishers such as Dapr give a message an id of their own.
func TestRequestsWithOneMessageIDAreAllStored(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	hasNoWindow(t, js)
	p.Stop()
	p.Start()
	bustest.Eventually(t, "the operator is back", func() bool { return js.Conn().IsConnected() })
	hasNoWindow(t, js)
	bustest.Eventually(t, "nothing is left to provision", func() bool {
		left, err := provision.Check(t.Context(), b, nil)
		return err == nil && len(left) == 0
	})
	nothingIsSourced(t, js)
}

// nothingIsSourced proves that the sources of the request streams bring nothing,
// whatever lies in the stream that they name.
func nothingIsSourced(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	before := bustest.Messages(t, js, events.StreamRequests)
	for _, subject := range []string{"holdfast.dlq.never", "holdfast.dlq.web01"} {
		if _, err := js.Publish(t.Context(), subject, nil); err != nil {
			t.Fatal(err)
		}
	}
	bustest.Eventually(t, "the sources answer", func() bool {
		s, err := js.Stream(t.Context(), events.StreamRequests)
		if err != nil {
			return false
		}
		sources := s.CachedInfo().Sources
		return len(sources) == 1 && sources[0].Error == nil && sources[0].Active >= 0
	})
	time.Sleep(time.Second)
	if n := bustest.Messages(t, js, events.StreamRequests) - before; n != 0 {
		t.Errorf("%d messages came from the source", n)
	}
}

func TestRequestsWithOneMessageIDAreAllStoredByACluster(t *testing.T) {
	t.Parallel()
	c := bustest.Cluster(t, 3)
	o := bus.Options{URL: c.URL, User: c.User, Password: c.Password}
	b := bustest.Connect(t, o)
	if _, err := provision.Run(bustest.Within(t, time.Minute), b, provision.Options{Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	_, js := bustest.Operator(t, o)
	hasNoWindow(t, js)
	leader := c.Leader(events.StreamRequests)
	c.Nodes[leader].Stop()
	bustest.Eventually(t, "another server leads", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s, err := js.Stream(ctx, events.StreamRequests)
		return err == nil && s.CachedInfo().Cluster.Leader != "" && js.Conn().IsConnected()
	})
	if n := swallows(t, js, events.StreamRequests); n > 0 {
		t.Errorf("after a server went it swallows %d of 6", n)
	}
}

// The streams had a window before.
func TestProvisionTakesTheWindowFromOlderStreams(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		b := bustest.Provisioned(t, o)
		_, js := bustest.Operator(t, o)
		for name := range requestStreams {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			config := s.CachedInfo().Config
			config.Sources, config.Duplicates = nil, 2*time.Minute
			if _, err := js.UpdateStream(t.Context(), config); err != nil {
				t.Fatal(err)
			}
			if swallows(t, js, name) == 0 {
				t.Errorf("%s has no window: the test shows nothing", name)
			}
		}
		settings := []provision.Setting{
			{Name: "sources", Have: "none", Want: "HOLDFAST_DLQ holdfast.dlq.never.any"},
			{Name: "duplicate_window", Have: "2m0s", Want: "0s"},
		}
		got, err := provision.Run(t.Context(), b, provision.Options{Update: true})
		if err != nil {
			t.Fatal(err)
		}
		equalChanges(t, got, []provision.Change{
			{Kind: "stream", Name: events.StreamRequests, Action: provision.Update, Settings: settings},
			{Kind: "stream", Name: events.StreamBroadcast, Action: provision.Update, Settings: settings},
		})
		if left, err := provision.Check(t.Context(), b, nil); err != nil || len(left) != 0 {
			t.Errorf("after the update: %+v, %v", left, err)
		}
		// The server forgets what the window held within a moment.
		for name := range requestStreams {
			bustest.Eventually(t, "the window is gone", func() bool { return swallows(t, js, name) == 0 })
		}
		hasNoWindow(t, js)
	})
}

func TestProvisionKeepsOtherSources(t *testing.T) {
	o := bustest.Embedded(t)
	b := bustest.Provisioned(t, o)
	_, js := bustest.Operator(t, o)
	s, err := js.Stream(t.Context(), events.StreamRequests)
	if err != nil {
		t.Fatal(err)
	}
	config := s.CachedInfo().Config
	config.Sources = []*jetstream.StreamSource{{Name: events.StreamDLQ, FilterSubject: "holdfast.dlq.the.operators"}}
	if _, err := js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := provision.Run(t.Context(), b, provision.Options{Update: true}); err != nil {
		t.Fatal(err)
	}
	if s, err = js.Stream(t.Context(), events.StreamRequests); err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, source := range s.CachedInfo().Config.Sources {
		all = append(all, source.FilterSubject)
	}
	if got := strings.Join(all, " "); got != "holdfast.dlq.the.operators holdfast.dlq.never.any" {
		t.Errorf("the sources are %s", got)
	}
}

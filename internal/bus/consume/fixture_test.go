package consume_test

import (
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
)

const host = bustest.Host

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

// state is what a consumer has: messages not yet delivered, and not yet settled.
type state struct {
	waiting   uint64
	unsettled int
}

func consumerState(t *testing.T, js jetstream.JetStream, stream, name string) state {
	t.Helper()
	c, err := js.Consumer(t.Context(), stream, name)
	if err != nil {
		t.Fatal(err)
	}
	i := c.CachedInfo()
	return state{i.NumPending, i.NumAckPending}
}

func idOf(t *testing.T, m *consume.Message) string {
	t.Helper()
	ev, err := events.Decode(m.Headers, m.Body)
	if err != nil {
		t.Fatal(err)
	}
	return ev.ID()
}

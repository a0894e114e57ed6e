package bustest_test

import (
	"context"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/bus/bustest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t *testing.T, url, user, password string) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(url, nats.UserInfo(user, password), nats.MaxReconnects(-1), nats.ReconnectWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(bustest.Patience))
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func makeStream(t *testing.T, js jetstream.JetStream, replicas int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	config := jetstream.StreamConfig{Name: "STREAM", Subjects: []string{"s"}, Replicas: replicas, Storage: jetstream.FileStorage}
	if _, err := js.CreateStream(ctx, config); err != nil {
		t.Fatal(err)
	}
}

// publish tries until the message is stored.
func publish(t *testing.T, js jetstream.JetStream) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = tryPublish(t, js, 2*time.Second); err == nil {
			return
		}
	}
	t.Fatal(err)
}

func tryPublish(t *testing.T, js jetstream.JetStream, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, err := js.Publish(ctx, "s", nil)
	return err
}

func messages(t *testing.T, js jetstream.JetStream) uint64 {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := js.Stream(ctx, "STREAM")
	if err != nil {
		t.Fatal(err)
	}
	return s.CachedInfo().State.Msgs
}

func TestProcessKeepsItsMessages(t *testing.T) {
	p := bustest.Server(t)
	js := connect(t, p.URL, p.User, p.Password)
	makeStream(t, js, 1)
	for _, again := range []func(){func() {}, p.Restart, func() { p.Kill(); p.Kill(); p.Start(); p.Start() }} {
		again()
		publish(t, js)
	}
	if n := messages(t, js); n < 3 {
		t.Errorf("%d messages", n)
	}
}

func TestProcessPauses(t *testing.T) {
	p := bustest.Server(t)
	js := connect(t, p.URL, p.User, p.Password)
	makeStream(t, js, 1)
	p.Pause()
	if err := tryPublish(t, js, 300*time.Millisecond); err == nil {
		t.Error("a paused server answers")
	}
	p.Continue()
	publish(t, js)

	p.Pause() // and so it ends
	for name, end := range map[string]func(){"stop": p.Stop, "kill": p.Kill} {
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			end()
		}()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s does not end a paused server", name)
		}
		p.Start()
		p.Pause()
	}
}

func TestClusterOutlastsItsLeader(t *testing.T) {
	c := bustest.Cluster(t, 3)
	js := connect(t, c.URL, c.User, c.Password)
	makeStream(t, js, 3)
	publish(t, js)

	first := c.Leader("STREAM")
	c.Nodes[first].Kill()
	publish(t, js)
	second := c.Leader("STREAM")
	if second == first {
		t.Errorf("node %d leads, and was killed", first)
	}
	c.Nodes[first].Start()
	c.Settled("STREAM")

	c.Nodes[second].Stop() // what the first one missed, it has
	if third := c.Leader("STREAM"); third == second {
		t.Errorf("node %d leads, and was stopped", second)
	}
	publish(t, js)
	if n := messages(t, js); n < 3 {
		t.Errorf("%d messages", n)
	}
}

package bus_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
)

// taken is the result of a Next that runs while things happen to the server.
func taken(t *testing.T, s *bus.Source) <-chan *bus.Message {
	c := make(chan *bus.Message, 1)
	ctx := within(t, time.Minute)
	go func() {
		defer close(c)
		if m, err := s.Next(ctx); err == nil {
			c <- m
		}
	}()
	return c
}

func promptly(t *testing.T, c <-chan *bus.Message, limit time.Duration) *bus.Message {
	t.Helper()
	began := time.Now()
	select {
	case m := <-c:
		if m == nil {
			t.Fatal("no message")
		}
		t.Logf("taken after %s", time.Since(began))
		return m
	case <-time.After(limit):
		t.Fatalf("no message within %s", limit)
		return nil
	}
}

func TestNextOutlastsTheServer(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*bustest.Process){
		"stopped": (*bustest.Process).Stop,
		"killed":  (*bustest.Process).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			p, o := process(t)
			b := provisioned(t, o)
			waiting := taken(t, b.Work(host)[0])
			time.Sleep(100 * time.Millisecond)
			end(p)
			time.Sleep(500 * time.Millisecond)
			p.Start()
			publish(t, b, "a")
			// Far below the expiry of the pull that was lost.
			done(t, promptly(t, waiting, 10*time.Second))
		})
	}
}

// A pull that was left open before the outage is not taken for open after it.
func TestNextAfterAnOutageThatNobodyWaitedIn(t *testing.T) {
	t.Parallel()
	p, o := process(t)
	b := provisioned(t, o)
	own := b.Work(host)[0]
	if _, err := own.Next(within(t, 50*time.Millisecond)); err == nil {
		t.Fatal("a message")
	}
	p.Restart()
	publish(t, b, "a")
	done(t, next(t, own, 10*time.Second))
}

func TestDeletedConsumerComesBack(t *testing.T) {
	onBoth(t, func(t *testing.T, o bus.Options) {
		o, logs := logged(o)
		b := provisioned(t, o)
		_, js := operator(t, o)
		remove := func() {
			if err := js.DeleteConsumer(t.Context(), events.StreamRequests, "host_web01"); err != nil {
				t.Fatal(err)
			}
		}
		own := b.Work(host)[0]

		remove() // before anybody asks
		publish(t, b, "a")
		done(t, next(t, own, 10*time.Second))

		waiting := taken(t, own)
		time.Sleep(100 * time.Millisecond)
		remove() // while a pull is open
		publish(t, b, "b")
		done(t, promptly(t, waiting, 10*time.Second))

		if n := logs.FilterMessageSnippet("was made").Len(); n != 2 {
			t.Errorf("%d lines in the log: %v", n, logs.All())
		}
		if left, err := b.Check(t.Context(), []string{host}); err != nil || len(left) > 0 {
			t.Errorf("the consumer is not as it was: %+v, %v", left, err)
		}
	})
}

func TestMissingStreamIsWaitedFor(t *testing.T) {
	t.Parallel()
	o, logs := logged(embeddedServer(t))
	b := connect(t, o)
	waiting := taken(t, b.Work(host)[0])
	eventually(t, "it is logged", func() bool { return logs.FilterMessageSnippet("no requests can be taken").Len() > 0 })
	time.Sleep(time.Second) // several tries
	lines := logs.FilterMessageSnippet("no requests can be taken")
	if lines.Len() != 1 || !strings.Contains(lines.All()[0].ContextMap()["error"].(string), "run holdfast provision") {
		t.Errorf("logged: %+v", lines.All())
	}
	if _, err := b.Provision(t.Context(), bus.ProvisionOptions{}); err != nil {
		t.Fatal(err)
	}
	publish(t, b, "a")
	done(t, promptly(t, waiting, 20*time.Second))
}

func TestDeniedOperationIsNamed(t *testing.T) {
	p, _ := process(t, bustest.Config{Permissions: `publish: ["$JS.API.>", "$JS.ACK.>"], subscribe: ["_INBOX.>"]`})
	o, logs := logged(bus.Options{URL: p.URL, User: p.User, Password: p.Password})
	b := provisioned(t, o)
	err := b.PublishEvent(within(t, 100*time.Millisecond), "holdfast.evt.web01.job.backup.completed", request(events.Backup, "a"))
	if err == nil {
		t.Error("published")
	}
	eventually(t, "the violation is logged", func() bool {
		for _, l := range logs.FilterLevelExact(zap.ErrorLevel).All() {
			if strings.Contains(l.ContextMap()["error"].(string), `Publish to "holdfast.evt.web01.job.backup.completed"`) {
				return true
			}
		}
		return false
	})
}

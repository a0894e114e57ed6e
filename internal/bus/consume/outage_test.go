package consume_test

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/bus/consume"
	"holdfast.io/holdfast/internal/bus/provision"
)

// taken is the result of a Next that runs while things happen to the server.
func taken(t *testing.T, s *consume.Source) <-chan *consume.Message {
	c := make(chan *consume.Message, 1)
	ctx := bustest.Within(t, time.Minute)
	go func() {
		defer close(c)
		if m, err := s.Next(ctx); err == nil {
			c <- m
		}
	}()
	return c
}

func promptly(t *testing.T, c <-chan *consume.Message) *consume.Message {
	t.Helper()
	began := time.Now()
	select {
	case m := <-c:
		if m == nil {
			t.Fatal("no message")
		}
		t.Logf("taken after %s", time.Since(began))
		return m
	case <-time.After(bustest.Patience):
		t.Fatalf("no message within %s", bustest.Patience)
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
			p, o := bustest.External(t)
			b := bustest.Provisioned(t, o)
			waiting := taken(t, consume.Work(b, host)[0])
			time.Sleep(100 * time.Millisecond)
			end(p)
			time.Sleep(500 * time.Millisecond)
			p.Start()
			bustest.Publish(t, b, "a")
			// Within less than the expiry of the pull that was lost.
			bustest.Done(t, promptly(t, waiting))
		})
	}
}

// A pull that was left open before the outage is not taken for open after it.
func TestNextAfterAnOutageThatNobodyWaitedIn(t *testing.T) {
	t.Parallel()
	p, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	own := consume.Work(b, host)[0]
	if _, err := own.Next(bustest.Within(t, 50*time.Millisecond)); err == nil {
		t.Fatal("a message")
	}
	p.Restart()
	bustest.Publish(t, b, "a")
	bustest.Done(t, bustest.Next(t, own))
}

func TestDeletedConsumerComesBack(t *testing.T) {
	bustest.OnBoth(t, func(t *testing.T, o bus.Options) {
		o, logs := bustest.Logged(o)
		b := bustest.Provisioned(t, o)
		_, js := bustest.Operator(t, o)
		remove := func() {
			if err := js.DeleteConsumer(t.Context(), events.StreamRequests, "host_web01"); err != nil {
				t.Fatal(err)
			}
		}
		own := consume.Work(b, host)[0]

		remove() // before anybody asks
		bustest.Publish(t, b, "a")
		bustest.Done(t, bustest.Next(t, own))

		waiting := taken(t, own)
		time.Sleep(100 * time.Millisecond)
		remove() // while a pull is open
		bustest.Publish(t, b, "b")
		bustest.Done(t, promptly(t, waiting))

		if n := logs.FilterMessageSnippet("was made").Len(); n != 2 {
			t.Errorf("%d lines in the log: %v", n, logs.All())
		}
		if left, err := provision.Check(t.Context(), b, []string{host}); err != nil || len(left) > 0 {
			t.Errorf("the consumer is not as it was: %+v, %v", left, err)
		}
	})
}

func TestMissingStreamIsWaitedFor(t *testing.T) {
	t.Parallel()
	o, logs := bustest.Logged(bustest.Embedded(t))
	b := bustest.Connect(t, o)
	waiting := taken(t, consume.Work(b, host)[0])
	bustest.Eventually(t, "it is logged", func() bool { return logs.FilterMessageSnippet("no requests can be taken").Len() > 0 })
	time.Sleep(time.Second) // several tries
	lines := logs.FilterMessageSnippet("no requests can be taken")
	if lines.Len() != 1 || !strings.Contains(lines.All()[0].ContextMap()["error"].(string), "run holdfast provision") {
		t.Errorf("logged: %+v", lines.All())
	}
	if _, err := provision.Run(t.Context(), b, provision.Options{}); err != nil {
		t.Fatal(err)
	}
	bustest.Publish(t, b, "a")
	bustest.Done(t, promptly(t, waiting))
}

func TestDeniedOperationIsNamed(t *testing.T) {
	p, _ := bustest.External(t, bustest.Config{Permissions: `publish: ["$JS.API.>", "$JS.ACK.>"], subscribe: ["_INBOX.>"]`})
	o, logs := bustest.Logged(bus.Options{URL: p.URL, User: p.User, Password: p.Password})
	b := bustest.Provisioned(t, o)
	err := b.PublishEvent(bustest.Within(t, 100*time.Millisecond), "holdfast.evt.web01.job.backup.completed",
		bustest.Request(events.Backup, "a"))
	if err == nil {
		t.Error("published")
	}
	bustest.Eventually(t, "the violation is logged", func() bool {
		for _, l := range logs.FilterLevelExact(zap.ErrorLevel).All() {
			if strings.Contains(l.ContextMap()["error"].(string), `Publish to "holdfast.evt.web01.job.backup.completed"`) {
				return true
			}
		}
		return false
	})
}

func TestCloseIsBounded(t *testing.T) {
	p, o := bustest.External(t)
	b := bustest.Provisioned(t, o)
	waiting := taken(t, consume.Work(b, host)[0])
	p.Stop()
	began := time.Now()
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s with the server away", took)
	}
	if m := <-waiting; m != nil {
		t.Errorf("%+v", m)
	}
}

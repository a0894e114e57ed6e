package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
)

// server takes down all that a worker has to say, in order: what it publishes,
// and how it settles its messages.
type server struct {
	t *testing.T
	// refuse is asked before anything is stored; nil refuses nothing.
	refuse func(ctx context.Context, what string) error

	mu       sync.Mutex
	sequence uint64
	journal  []string
	events   []event.Event
	letters  []events.DeadLetter
	progress []event.Event
}

func (s *server) number() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	return s.sequence
}

func (s *server) note(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.journal = append(s.journal, fmt.Sprintf(format, args...))
}

func (s *server) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.journal)
}

func (s *server) published() []event.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

func (s *server) ask(ctx context.Context, what string) error {
	if s.refuse == nil {
		return nil
	}
	return s.refuse(ctx, what)
}

// PublishMessage implements [Publisher].
func (s *server) PublishMessage(ctx context.Context, m events.Message) error {
	ev, err := m.Event()
	if err != nil {
		s.t.Errorf("a message cannot be decoded: %v", err)
	}
	subject := m.Subject
	if size := messageSize(m); size > maxPayload {
		return fmt.Errorf("%w: %d bytes", bus.ErrTooLarge, size)
	}
	short := events.Short(ev.Type())
	if err := s.ask(ctx, short); err != nil {
		return err
	}
	if err := ev.Validate(); err != nil {
		s.t.Errorf("%s is not a CloudEvent: %v", short, err)
	}
	job, _ := ev.Extensions()[events.ExtJobID].(string)
	want := events.EventSubject(testHost, job, ev.Type())
	if ev.Type() == events.Prune.RequestType() { // what follows a job
		job, want = "none", events.HostSubject(events.Prune, testHost)
	}
	if subject != want || job == "" {
		s.t.Errorf("%s was published on %s, want %s", short, subject, want)
	}
	if ev.Source() != "/holdfast/"+testHost {
		s.t.Errorf("the source of %s is %s", short, ev.Source())
	}
	s.note("%s %s", short, ev.Subject())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, ev)
	return nil
}

// maxPayload is what a NATS server takes by default.
const maxPayload = 1 << 20

func messageSize(m events.Message) int {
	size := len(m.Body)
	for name, values := range m.Headers {
		size += len(name) + len(values[0]) + len(": \r\n")
	}
	return size
}

// PublishDeadLetter implements [Publisher].
func (s *server) PublishDeadLetter(ctx context.Context, subject, id string, body []byte) error {
	if err := s.ask(ctx, "dead letter"); err != nil {
		return err
	}
	var letter events.DeadLetter
	if err := json.Unmarshal(body, &letter); err != nil {
		s.t.Errorf("a dead letter cannot be read: %v", err)
	}
	if subject != events.DeadLetterSubject(testHost) || id == "" {
		s.t.Errorf("a dead letter was sent to %s as %q", subject, id)
	}
	s.note("dead letter %d: %s", letter.Sequence, letter.Reason)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.letters = append(s.letters, letter)
	return nil
}

// PublishProgress implements [Publisher].
func (s *server) PublishProgress(subject string, ev event.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.progress = append(s.progress, ev)
	return errors.New("nobody listens") // is no error
}

// settlement takes down how one delivery is settled.
type settlement struct {
	server   *server
	sequence uint64

	mu      sync.Mutex
	settled chan struct{} // closed when it is
	verb    string
	delay   time.Duration // of later
	alive   bool
}

func (s *settlement) settle(verb string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.verb = verb
	s.server.note("%s %d", verb, s.sequence)
	if !s.alive {
		s.server.t.Errorf("message %d was not kept alive until it was settled", s.sequence)
	}
	select {
	case <-s.settled:
		s.server.t.Errorf("message %d was settled twice", s.sequence)
	default:
		close(s.settled)
	}
}

// KeepAlive implements [consume.Settler].
func (s *settlement) KeepAlive(context.Context) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alive = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.alive = false
	}
}

// Done implements [consume.Settler].
func (s *settlement) Done(ctx context.Context) error {
	if err := s.server.ask(ctx, "done"); err != nil {
		return err
	}
	s.settle("done")
	return nil
}

// Reject implements [consume.Settler].
func (s *settlement) Reject(_ context.Context, reason string) error {
	s.settle("rejected as " + reason)
	return nil
}

// Later implements [consume.Settler].
func (s *settlement) Later(delay time.Duration) error {
	if delay == 0 {
		s.alive = true // it goes back as it came
	}
	s.delay = delay
	s.settle("later")
	return nil
}

package read

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
)

// ErrNoLetter is reported for a dead letter that is not there (any more).
var ErrNoLetter = errors.New("there is no such dead letter")

// Letter is a dead letter as it lies in its stream.
type Letter struct {
	// Sequence is the letter's own number, and Time when it was stored; where and
	// when the request was is in DeadLetter.
	Sequence uint64
	Time     time.Time
	// Host is the id of the host that refused the request.
	Host string
	events.DeadLetter
}

// DeadLetters yields the dead letters of a host, or with an asterisk those of
// all, the oldest first. It retries until ctx ends while the server is away. A
// message that is no dead letter is passed over. It reports bus.ErrNotProvisioned or
// bus.ErrClosed, and ends after the first error.
func DeadLetters(ctx context.Context, b *bus.Bus, host string) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		if host != "*" && !events.ValidHostID(host) {
			yield(Letter{}, fmt.Errorf("%q is not a host id", host))
			return
		}
		for m, err := range b.Walk(ctx, events.StreamDLQ, events.DeadLetterSubject(host)) {
			if err != nil {
				yield(Letter{}, err)
				return
			}
			letter, err := readLetter(m)
			if err != nil {
				b.Logger().Warn("a message that is no dead letter was passed over", zap.Error(err))
				continue
			}
			if !yield(letter, nil) {
				return
			}
		}
	}
}

// DeadLetter returns the dead letter with a sequence number. It retries as
// DeadLetters does, and reports ErrNoLetter besides.
func DeadLetter(ctx context.Context, b *bus.Bus, sequence uint64) (Letter, error) {
	if sequence == 0 { // the server's numbers begin at 1, and it takes 0 for none
		return Letter{}, fmt.Errorf("read dead letter 0: %w", ErrNoLetter)
	}
	m, err := b.Find(ctx, events.StreamDLQ, bus.Query{Sequence: sequence})
	if err == nil && m == nil {
		err = ErrNoLetter
	}
	if err != nil {
		return Letter{}, fmt.Errorf("read dead letter %d: %w", sequence, err)
	}
	return readLetter(m)
}

func readLetter(m *bus.Stored) (Letter, error) {
	letter := Letter{
		Sequence: m.Sequence,
		Time:     m.Time,
		Host:     strings.TrimPrefix(m.Subject, events.DeadLetterSubject("")),
	}
	err := json.Unmarshal(m.Data, &letter.DeadLetter)
	if err == nil && letter.Reason == "" {
		err = errors.New("it has no reason")
	}
	if err != nil {
		return Letter{}, fmt.Errorf("message %d of %s is no dead letter: %w", m.Sequence, events.StreamDLQ, err)
	}
	return letter, nil
}

package bus

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
// all, the oldest first. It tries on until ctx ends while the server is away. A
// message that is no dead letter is passed over. It reports ErrNotProvisioned or
// ErrClosed, and ends after the first error.
func (b *Bus) DeadLetters(ctx context.Context, host string) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		if host != "*" && !events.ValidHostID(host) {
			yield(Letter{}, fmt.Errorf("%q is not a host id", host))
			return
		}
		for m, err := range b.walk(ctx, events.StreamDLQ, events.DeadLetterSubject(host)) {
			if err != nil {
				yield(Letter{}, err)
				return
			}
			letter, err := readLetter(m)
			if err != nil {
				b.log.Warn("a message that is no dead letter was passed over", zap.Error(err))
				continue
			}
			if !yield(letter, nil) {
				return
			}
		}
	}
}

// DeadLetter returns the dead letter with a sequence number. It tries on as
// DeadLetters does, and reports ErrNoLetter besides.
func (b *Bus) DeadLetter(ctx context.Context, sequence uint64) (Letter, error) {
	if sequence == 0 { // the server's numbers begin at 1, and it takes 0 for none
		return Letter{}, fmt.Errorf("read dead letter 0: %w", ErrNoLetter)
	}
	m, err := b.find(ctx, events.StreamDLQ, query{Sequence: sequence})
	if err == nil && m == nil {
		err = ErrNoLetter
	}
	if err != nil {
		return Letter{}, fmt.Errorf("read dead letter %d: %w", sequence, err)
	}
	return readLetter(m)
}

func readLetter(m *stored) (Letter, error) {
	letter := Letter{
		Sequence: m.sequence,
		Time:     m.time,
		Host:     strings.TrimPrefix(m.subject, events.DeadLetterSubject("")),
	}
	err := json.Unmarshal(m.data, &letter.DeadLetter)
	if err == nil && letter.Reason == "" {
		err = errors.New("it has no reason")
	}
	if err != nil {
		return Letter{}, fmt.Errorf("message %d of %s is no dead letter: %w", m.sequence, events.StreamDLQ, err)
	}
	return letter, nil
}

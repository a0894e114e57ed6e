package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Streams are read without a consumer: there is nothing to be left behind on the server, nothing to be made
// again after an outage, and whoever reads needs no right to make consumers.

// ErrNoMessage reports that a stream has no message like the one asked for.
var ErrNoMessage = errors.New("there is no such message")

// Stored is a message as it lies in a stream.
type Stored struct {
	Subject  string
	Sequence uint64
	Time     time.Time
	Header   nats.Header
	Data     []byte
}

// Query says which message of a stream is meant: the one with the sequence, the
// last one on a subject, or the first one on a subject from the sequence on.
type Query struct {
	Sequence uint64 `json:"seq,omitempty"`
	LastFor  string `json:"last_by_subj,omitempty"`
	NextFor  string `json:"next_by_subj,omitempty"`
}

// Load reads one message from the leader of its stream, which knows every
// message that was acknowledged. It reports ErrNoMessage.
func (b *Bus) Load(ctx context.Context, stream string, q Query) (*Stored, error) {
	ctx, cancel := context.WithTimeout(ctx, AttemptTimeout)
	defer cancel()
	question, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	answer, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, question)
	if err != nil {
		return nil, err
	}
	var response struct {
		Error   *jetstream.APIError `json:"error"`
		Message struct {
			Subject  string    `json:"subject"`
			Sequence uint64    `json:"seq"`
			Time     time.Time `json:"time"`
			Header   []byte    `json:"hdrs"`
			Data     []byte    `json:"data"`
		} `json:"message"`
	}
	if err := json.Unmarshal(answer.Data, &response); err != nil {
		return nil, fmt.Errorf("read the answer of stream %s: %w", stream, err)
	}
	switch {
	case response.Error != nil && response.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, ErrNoMessage
	case response.Error != nil:
		return nil, response.Error
	}
	m := response.Message
	// Headers that cannot be read are none, as for the client library when it is
	// sent a message: anybody who may publish can have them stored.
	header, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		header = nats.Header{}
	}
	return &Stored{Subject: m.Subject, Sequence: m.Sequence, Time: m.Time, Header: header, Data: m.Data}, nil
}

// Find is Load, tried until ctx ends while the server is away. It returns nil if
// there is no such message.
func (b *Bus) Find(ctx context.Context, stream string, q Query) (m *Stored, err error) {
	err = b.Retry(ctx, "reading "+stream, func(ctx context.Context) (err error) {
		m, err = b.Load(ctx, stream, q)
		if errors.Is(err, ErrNoMessage) {
			return nil
		}
		return err
	})
	return m, err
}

// Walk yields the messages on a subject, which may have wildcards, from the first
// one to the last, of a stream that [Bus.Batch] can read. It ends after the first
// error.
func (b *Bus) Walk(ctx context.Context, stream, subject string) iter.Seq2[*Stored, error] {
	return func(yield func(*Stored, error) bool) {
		for from := uint64(1); ; {
			batch, err := b.Batch(ctx, stream, subject, from)
			if err != nil {
				yield(nil, fmt.Errorf("read %s of %s: %w", subject, stream, err))
				return
			}
			for _, m := range batch {
				if !yield(m, nil) {
					return
				}
				from = m.Sequence + 1
			}
			if len(batch) == 0 {
				return
			}
		}
	}
}

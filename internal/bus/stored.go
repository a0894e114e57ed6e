package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// errNoMessage reports that a stream has no such message.
var errNoMessage = errors.New("the stream has no such message")

// query says which message of a stream is meant.
type query struct {
	// LastBySubject is the subject whose last message is meant.
	LastBySubject string `json:"last_by_subj,omitempty"`
	// NextBySubject is a subject, perhaps with wildcards, whose first message from
	// Sequence on is meant.
	NextBySubject string `json:"next_by_subj,omitempty"`
	Sequence      uint64 `json:"seq,omitempty"`
}

// stored is a message as it lies in a stream.
type stored struct {
	Subject  string    `json:"subject"`
	Sequence uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Header   []byte    `json:"hdrs,omitempty"`
	Data     []byte    `json:"data,omitempty"`
}

func (m *stored) headers() (nats.Header, error) {
	if len(m.Header) == 0 {
		return nats.Header{}, nil
	}
	headers, err := nats.DecodeHeadersMsg(m.Header)
	if err != nil {
		return nil, fmt.Errorf("message %d on %s has damaged headers: %w", m.Sequence, m.Subject, err)
	}
	return headers, nil
}

// stored reads one message from the stream's leader, so that whatever was stored
// before is seen. It needs no consumer. It reports errNoMessage, and retries until
// ctx ends while the server is away.
func (b *Bus) stored(ctx context.Context, stream string, q query) (*stored, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, fmt.Errorf("encode a query: %w", err)
	}
	var message *stored
	err = b.retry(ctx, "reading "+stream, func(ctx context.Context) error {
		answer, err := b.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, body)
		if err != nil {
			return err
		}
		message, err = decodeStored(answer.Data)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", stream, err)
	}
	return message, nil
}

func decodeStored(raw []byte) (*stored, error) {
	var answer struct {
		Message *stored             `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(raw, &answer); {
	case err != nil:
		return nil, fmt.Errorf("the server's answer is no JSON: %w", err)
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return nil, errNoMessage
	case answer.Error != nil:
		return nil, answer.Error
	case answer.Message == nil:
		return nil, errNoMessage
	}
	return answer.Message, nil
}

package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/google/uuid"

	"holdfast.io/holdfast/events"
)

// Replay publishes the request of a dead letter once more, on its old subject and
// with its old data, under an id of its own and with the old correlation id. It
// returns the job to follow, that of the host whose letter it is, also where the
// request goes to all hosts. The request is stored when Replay returns. The caller
// closes the job. A letter that cannot be replayed is an error that says why.
func (c Client) Replay(ctx context.Context, host string, letter events.DeadLetter) (*Job, error) {
	ev, err := c.replayOf(letter)
	if err != nil {
		return nil, err
	}
	_, target, err := events.ParseRequestSubject(letter.Subject)
	if err != nil {
		return nil, fmt.Errorf("the letter's message was no request: %w", err)
	}
	jobHost, at := host, host
	if target == events.TargetAny {
		jobHost, at = events.HostAny, AnyHost
	}
	return c.send(ctx, letter.Subject, at, events.JobID(ev.Source(), ev.ID(), jobHost), ev)
}

// replayOf makes a new request of a dead letter. What only the old one had is left
// out: when it was to expire, above all.
func (c Client) replayOf(letter events.DeadLetter) (event.Event, error) {
	if int64(len(letter.Body)) < letter.Size {
		return event.Event{}, fmt.Errorf("the letter holds only the first %d of %d bytes of the request: publish it anew",
			len(letter.Body), letter.Size)
	}
	if sum := sha256.Sum256(letter.Body); "sha256:"+hex.EncodeToString(sum[:]) != letter.Digest {
		return event.Event{}, errors.New("the letter's body does not match its digest: publish the request anew")
	}
	old, err := events.Decode(letter.Headers, letter.Body)
	if err != nil {
		return event.Event{}, fmt.Errorf("the letter's message is no request that can be sent again: %w", err)
	}
	ev := event.New()
	ev.SetID(uuid.NewString())
	ev.SetSource(c.Source)
	ev.SetType(old.Type())
	ev.SetExtension(events.ExtCorrelationID, events.CorrelationID(old))
	if trace, ok := old.Extensions()[events.ExtTraceParent]; ok {
		ev.SetExtension(events.ExtTraceParent, trace)
	}
	if len(old.Data()) > 0 {
		ev.SetDataContentType(old.DataContentType())
		ev.DataEncoded = old.Data()
	}
	return ev, nil
}

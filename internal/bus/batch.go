package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What one batch has at most.
const (
	batchMessages = 256
	batchBytes    = 1 << 20 // and one message more
)

// Batch reads the next messages on a subject, which may have wildcards, from a
// sequence on: in order, without a gap, some hundreds of them at most, and none if
// there is no more. It costs one exchange with the server, and is tried until ctx
// ends while that is away. The stream must allow direct reads. Any of its replicas
// may answer, also one that has not yet heard of the latest messages.
func (b *Bus) Batch(ctx context.Context, stream, subject string, from uint64) (batch []*Stored, err error) {
	err = b.Retry(ctx, "reading "+stream, func(ctx context.Context) (err error) {
		batch, err = b.NextBatch(ctx, stream, subject, from, batchBytes)
		return err
	})
	return batch, err
}

// CheckBatch reports what prevents [Bus.Batch] from reading, such as
// ErrNotProvisioned. It asks once.
func (b *Bus) CheckBatch(ctx context.Context, stream, subject string) error {
	ctx, cancel := context.WithTimeout(ctx, AttemptTimeout)
	defer cancel()
	_, err := b.NextBatch(ctx, stream, subject, 1, batchBytes)
	return Named(err)
}

// NextBatch is Batch of about so many bytes, and one message more. It asks once.
func (b *Bus) NextBatch(ctx context.Context, stream, subject string, from uint64, bytes int) ([]*Stored, error) {
	question, err := json.Marshal(struct {
		Sequence uint64 `json:"seq"`
		NextFor  string `json:"next_by_subj"`
		Batch    int    `json:"batch"`
		MaxBytes int    `json:"max_bytes"`
	}{from, subject, batchMessages, bytes})
	if err != nil {
		return nil, err
	}
	inbox := b.nc.NewInbox()
	answers := make(chan *nats.Msg, batchMessages+1)
	sub, err := b.nc.ChanSubscribe(inbox, answers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only if the connection is closed
	at := "$JS.API.DIRECT.GET." + stream
	asking, stop := b.link.denials.unlessDenied(ctx, at)
	defer stop()
	if err := b.nc.PublishRequest(at, inbox, question); err != nil {
		return nil, err
	}
	var batch []*Stored
	for {
		select {
		case m := <-answers:
			next, over, err := b.inBatch(ctx, stream, m)
			if err != nil || over {
				return batch, err
			}
			if next == nil { // what comes after it is found by its sequence
				next, err = b.unreadable(ctx, stream, subject, from)
				if next == nil {
					return batch, err
				}
				return append(batch, next), nil
			}
			batch, from = append(batch, next), next.Sequence+1
		case <-asking.Done():
			return nil, context.Cause(asking)
		}
	}
}

// Statuses of an answer that is no message.
const (
	statusEnd     = "204"
	statusNothing = "404"
)

// inBatch reads one answer: a message, nil for one whose headers cannot be read, or
// that the batch is over.
func (b *Bus) inBatch(ctx context.Context, stream string, m *nats.Msg) (next *Stored, over bool, err error) {
	// The server puts its own headers after those that were stored with a message,
	// which may have the same names.
	last := func(name string) string {
		if all := m.Header.Values(name); len(all) > 0 {
			return all[len(all)-1]
		}
		return ""
	}
	sequence, err := strconv.ParseUint(last(jetstream.SequenceHeader), 10, 64)
	switch status := m.Header.Get("Status"); {
	case err == nil:
	case status == statusEnd, status == statusNothing:
		return nil, true, nil
	case status == noResponders:
		return nil, false, b.whyNoDirect(ctx, stream)
	case status != "":
		return nil, false, fmt.Errorf("the server refuses to read: %s %s", status, m.Header.Get("Description"))
	default:
		return nil, false, nil
	}
	stored, err := time.Parse(time.RFC3339Nano, last(jetstream.TimeStampHeaer))
	if err != nil {
		return nil, false, fmt.Errorf("read the time of message %d of stream %s: %w", sequence, stream, err)
	}
	next = &Stored{Subject: last(jetstream.SubjectHeader), Sequence: sequence, Time: stored, Header: m.Header, Data: m.Data}
	return next, false, nil
}

// unreadable loads the message from its leader whose headers spoil those of the
// server: anybody who may publish can have such stored.
func (b *Bus) unreadable(ctx context.Context, stream, subject string, from uint64) (*Stored, error) {
	m, err := b.Load(ctx, stream, Query{NextFor: subject, Sequence: from})
	if errors.Is(err, ErrNoMessage) {
		return nil, nil
	}
	return m, err
}

// whyNoDirect says why nobody answers a direct read.
func (b *Bus) whyNoDirect(ctx context.Context, stream string) error {
	_, err := b.js.Stream(ctx, stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return fmt.Errorf("stream %s has no leader at this moment, or does not allow direct reads (holdfast provision --update mends that), "+
		"or this user may not read it", stream)
}

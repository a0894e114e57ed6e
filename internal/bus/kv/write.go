package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/ledger"
)

// markerTTL is how long a deleted key stays visible as such, to those who watch
// the bucket with other programs.
const markerTTL = time.Minute

// Headers by which a message in a bucket says that its key is gone: the client
// libraries set the first, the server the second.
const (
	headerOperation    = "KV-Operation"
	headerMarkerReason = "Nats-Marker-Reason"
)

// errUnsettled reports that another write to the same key came in between.
var errUnsettled = errors.New("the key is being changed")

// write is one Put on its way.
type write struct {
	bucket   *Bucket
	key      string
	value    []byte
	expected uint64 // the caller's revision
	last     uint64 // the server's: a marker also has one
	ttl      time.Duration
	// unanswered says that an attempt was sent of which nothing is known.
	unanswered bool
}

// run tries until the write is decided or ctx ends.
func (w *write) run(ctx context.Context) (revision uint64, err error) {
	if !ledger.ValidKey(w.key) {
		return 0, fmt.Errorf("%q is not a key", w.key)
	}
	var refused error
	err = w.bucket.bus.Retry(ctx, "writing "+w.key, func(ctx context.Context) error {
		var err error
		revision, err = w.attempt(ctx)
		if refused = nil; errors.Is(err, ledger.ErrConflict) {
			refused, err = err, nil // that is decided, and not tried again
		}
		return err
	})
	return revision, errors.Join(err, refused)
}

// attempt writes once, and once more if only the marker of a deleted key was in
// the way.
func (w *write) attempt(ctx context.Context) (uint64, error) {
	for {
		revision, err := w.bucket.publish(ctx, w.key, w.value, w.last, w.ttl, nats.Header{})
		if !wrongRevision(err) {
			w.unanswered = w.unanswered || err != nil
			return revision, err
		}
		now, err := w.bucket.last(ctx, w.key)
		switch {
		case err != nil:
			return 0, err
		case revisionOf(now) == w.last:
			return 0, errUnsettled // a cluster refuses while another write is not yet stored
		case gone(now) && w.expected == 0:
			w.last = revisionOf(now)
		case w.unanswered && !gone(now) && bytes.Equal(now.Data, w.value):
			return now.Sequence, nil // this very write was in the way
		default:
			return 0, ledger.ErrConflict
		}
	}
}

// remove writes a marker in place of the key's value, and tries until ctx ends.
// It is one deletion, however often it is tried: what others write after it stays.
func (k *Bucket) remove(ctx context.Context, key string) error {
	if !ledger.ValidKey(key) {
		return fmt.Errorf("%q is not a key", key)
	}
	var unanswered uint64 // the revision that an attempt may have removed
	return k.bus.Retry(ctx, "deleting "+key, func(ctx context.Context) error {
		now, err := k.last(ctx, key)
		if err != nil {
			return err
		}
		if gone(now) || unanswered != 0 && now.Sequence != unanswered {
			return nil
		}
		_, err = k.publish(ctx, key, nil, now.Sequence, markerTTL, nats.Header{headerOperation: {"DEL"}})
		switch {
		case wrongRevision(err):
			return errUnsettled
		case err != nil:
			unanswered = now.Sequence
		}
		return err
	})
}

// publish stores a message for key if the revision of its last one is the
// expected one, and returns its own. A ttl of 0 is the bucket's own. It asks once.
func (k *Bucket) publish(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration,
	header nats.Header) (uint64, error) {
	header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(expected, 10))
	if ttl > 0 {
		seconds := (ttl + time.Second - 1) / time.Second
		header.Set(jetstream.MsgTTLHeader, strconv.FormatInt(int64(seconds), 10))
	}
	ack, err := k.bus.JetStream().PublishMsg(ctx, &nats.Msg{Subject: k.prefix + key, Header: header, Data: value})
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return 0, k.bus.WhyNoStream(ctx, k.prefix+key, err)
	}
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// last returns the last message of key, or nil. It asks once.
func (k *Bucket) last(ctx context.Context, key string) (*bus.Stored, error) {
	m, err := k.bus.Load(ctx, k.stream, bus.Query{LastFor: k.prefix + key})
	if errors.Is(err, bus.ErrNoMessage) {
		return nil, nil
	}
	return m, err
}

// gone reports whether a key with this last message has no value.
func gone(m *bus.Stored) bool {
	if m == nil || m.Header.Get(headerMarkerReason) != "" {
		return true
	}
	operation := m.Header.Get(headerOperation)
	return operation == "DEL" || operation == "PURGE"
}

// revisionOf is what a write must expect: 0 if there is no message.
func revisionOf(m *bus.Stored) uint64 {
	if m == nil {
		return 0
	}
	return m.Sequence
}

// wrongRevision reports that a write was refused for the revision it expects.
func wrongRevision(err error) bool {
	switch bus.APICode(err) {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return true
	default:
		return false
	}
}

// storeError gives an error the name that a Store has for it.
func storeError(err error) error {
	switch {
	case errors.Is(err, bus.ErrFull):
		return fmt.Errorf("%w (%w)", ledger.ErrFull, err)
	case errors.Is(err, bus.ErrTooLarge):
		return fmt.Errorf("%w (%w)", ledger.ErrTooLarge, err)
	}
	return err
}

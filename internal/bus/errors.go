package bus

import (
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

var (
	// ErrClosed is reported by everything that is called after Close.
	ErrClosed = errors.New("the connection to the message server is closed")
	// ErrNotProvisioned is reported where a stream is missing, or takes no
	// messages on the subject.
	ErrNotProvisioned = errors.New("no stream takes this subject; run holdfast provision")
	// ErrTooLarge is reported for a message over the limit of its stream or of
	// the server.
	ErrTooLarge = errors.New("the message is too large")
	// ErrFull is reported when a stream holds as much as it may and refuses more.
	ErrFull = errors.New("the stream is full")
	// ErrDenied is reported for what the server's permissions do not allow.
	ErrDenied = errors.New("the message server's permissions do not allow it")
	// ErrAway is reported when the connection is lost, or was never made. It passes:
	// Retry tries again.
	ErrAway = errors.New("the message server is away")
	// ErrConsumerGone is reported where a message is settled whose consumer was
	// removed.
	ErrConsumerGone = errors.New("the consumer that the message came from is gone")

	errRefused = errors.New("nothing takes connections there")
)

// codeStoreFailed is a code of JetStream's API that the client library does not
// name.
const codeStoreFailed jetstream.ErrorCode = 10077

// APICode returns the code of an error of JetStream's API, or 0.
func APICode(err error) jetstream.ErrorCode {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode
	}
	return 0
}

// Named gives an error of the client library the name that callers know it by.
func Named(err error) error {
	switch {
	case err == nil, errors.Is(err, ErrNotProvisioned), errors.Is(err, ErrTooLarge), errors.Is(err, ErrFull): // it has its name
		return err
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return ErrClosed
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected):
		// Nothing is buffered while the server is away; see natsOptions.
		return ErrAway
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w (%w)", ErrNotProvisioned, err)
	case errors.Is(err, nats.ErrMaxPayload), APICode(err) == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w (%w)", ErrTooLarge, err)
	case APICode(err) == codeStoreFailed && strings.Contains(err.Error(), "exceeded"):
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return err
}

// final reports whether trying again cannot help.
func final(err error) bool {
	for _, e := range []error{ErrClosed, ErrNotProvisioned, ErrTooLarge, ErrFull, ErrDenied, ErrConsumerGone} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

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

	errRefused      = errors.New("nothing takes connections there")
	errAway         = errors.New("the message server is away")
	errConsumerGone = errors.New("the consumer that the message came from is gone")
)

// Codes of JetStream's API that the client library does not name.
const (
	codeAccountLimit jetstream.ErrorCode = 10002
	codeNoPeers      jetstream.ErrorCode = 10005
	codeStorageLimit jetstream.ErrorCode = 10047
	codeStoreFailed  jetstream.ErrorCode = 10077
)

// apiCode returns the code of an error of JetStream's API, or 0.
func apiCode(err error) jetstream.ErrorCode {
	if e, ok := errors.AsType[*jetstream.APIError](err); ok {
		return e.ErrorCode
	}
	return 0
}

// named gives an error of the client library the name that callers know it by.
func named(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, nats.ErrConnectionDraining):
		return ErrClosed
	case errors.Is(err, nats.ErrReconnectBufExceeded), errors.Is(err, nats.ErrDisconnected):
		// Nothing is buffered while the server is away; see natsOptions.
		return errAway
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return fmt.Errorf("%w (%w)", ErrNotProvisioned, err)
	case errors.Is(err, nats.ErrMaxPayload), apiCode(err) == jetstream.JSErrCodeStreamMessageExceedsMaximum:
		return fmt.Errorf("%w (%w)", ErrTooLarge, err)
	case apiCode(err) == codeStoreFailed && strings.Contains(err.Error(), "exceeded"):
		return fmt.Errorf("%w (%w)", ErrFull, err)
	}
	return err
}

// final reports whether trying again cannot help.
func final(err error) bool {
	for _, e := range []error{ErrClosed, ErrNotProvisioned, ErrTooLarge, ErrFull, ErrDenied, errConsumerGone} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// noRoom reports whether a stream was refused because its bytes cannot be
// reserved.
func noRoom(err error) bool {
	switch apiCode(err) {
	case codeAccountLimit, codeStorageLimit:
		return true
	case codeNoPeers:
		return strings.Contains(err.Error(), "insufficient storage")
	}
	return false
}

package objects

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/sink"
)

var (
	// errBucket: the bucket is not fit to hold a sink.
	errBucket = errors.New("the bucket cannot hold a sink")
	// errSetting: a file that a setting names cannot be used.
	errSetting = errors.New("a setting cannot be used")
)

// firstLine returns the first line of a file, or nothing if there is no file.
func firstLine(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(raw, []byte("\n"))
	line = bytes.TrimSpace(line)
	if len(line) == 0 {
		return "", fmt.Errorf("%s is empty", path)
	}
	return string(line), nil
}

// Codes of JetStream's API, by which a server says that it has no room for any bucket.
const (
	codeAccountFull jetstream.ErrorCode = 10002
	codeNoResources jetstream.ErrorCode = 10023
	codeMemoryFull  jetstream.ErrorCode = 10028
	codeStorageFull jetstream.ErrorCode = 10047
)

// explain completes an error with the place, the name that the port has for it, and the
// remedy. Errors of the bus hold no secret.
func (s *Store) explain(ctx context.Context, key string, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	place := s.Place(key)
	switch code := bus.APICode(err); {
	case errors.Is(err, bus.ErrFull):
		return fmt.Errorf("%s: %w; prune, or let the bucket grow: nats stream edit %s --max-bytes=…: %w", place, sink.ErrFull, s.stream, err)
	case code == codeAccountFull, code == codeNoResources, code == codeMemoryFull, code == codeStorageFull:
		return fmt.Errorf("%s: %w: the server or the account has no more room for its buckets: %w", place, sink.ErrFull, err)
	case errors.Is(err, bus.ErrNotProvisioned): // whose own remedy is for other streams
		return fmt.Errorf("%s: %w: there is no bucket %s; make it (nats object add %s --max-bucket-size=10GB), "+
			"or set maxBytes, and a backup makes it", place, sink.ErrUnavailable, s.options.Bucket, s.options.Bucket)
	case errors.Is(err, errRemoved):
		return fmt.Errorf("%s: %w: %w; retry", place, sink.ErrUnavailable, err)
	}
	// The end of this package's patience is not that of the caller's ctx, so it is not wrapped.
	return fmt.Errorf("%s: %w: %s: %v", place, sink.ErrUnavailable, remedy(err), err) //nolint:errorlint // see above
}

// remedy says what to do about an error.
func remedy(err error) string {
	switch code := bus.APICode(err); {
	case errors.Is(err, bus.ErrDenied):
		return "this user may not do that; give it the permissions that the manual lists"
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return "the server does not take these credentials; correct credentialsFile, or userFile and passwordFile"
	case errors.Is(err, bus.ErrTooLarge):
		return "the server or the bucket takes only small messages; raise max_payload, and the bucket's max-msg-size"
	case errors.Is(err, errBucket), errors.Is(err, errSetting):
		return "correct that"
	case code == jetstream.JSErrCodeJetStreamNotEnabled, code == jetstream.JSErrCodeJetStreamNotEnabledForAccount,
		errors.Is(err, nats.ErrNoResponders):
		return "JetStream is not enabled there, for this account; enable it"
	}
	return "it does not answer; look at the server and the way to it"
}

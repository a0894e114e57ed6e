// Package ledger keeps what is known of every job where it outlives the worker:
// who works on it, its plan, what came of each item, and its end. What was
// written first stands, so that whoever carries a job on repeats what was said of
// it, and never contradicts it.
package ledger

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Errors of a Store, and of what is built on it.
var (
	// ErrNotFound is reported for a key that is not there (any more).
	ErrNotFound = errors.New("not in the ledger")
	// ErrConflict is reported when the key is there already, or has another
	// revision than was expected: somebody else was first.
	ErrConflict = errors.New("the ledger was changed by somebody else")
	// ErrFull is reported when the ledger has no room left.
	ErrFull = errors.New("the ledger is full")
)

// Store is a key-value store with revisions. Keys are NATS subjects: tokens
// separated by dots. Every method retries until ctx ends while the server is
// away, and sees what any other client wrote before. It may be used by several
// goroutines.
type Store interface {
	// Get returns the value of key and its revision. It reports ErrNotFound.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put writes key if its revision is still the expected one, and returns the
	// new revision. A revision of 0 means that the key must not be there. The key
	// is forgotten after ttl. It reports ErrConflict and ErrFull. A write whose
	// answer was lost is found again by its value, and is no conflict.
	Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (revision uint64, err error)
	// Delete forgets key, whatever its revision. It is no error if it is not there.
	Delete(ctx context.Context, key string) error
	// List yields all entries whose key matches the pattern, in which an asterisk
	// stands for one token and a final > for one or more, in the order in which they
	// were written. It ends after the first error.
	List(ctx context.Context, pattern string) iter.Seq2[Entry, error]
}

// Entry is one entry of a Store.
type Entry struct {
	Key      string
	Value    []byte
	Revision uint64
	// Time is when it was written.
	Time time.Time
}

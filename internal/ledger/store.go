// Package ledger keeps what is known of every job where it outlives the worker:
// who works on it, its plan, what came of each item, and its end. What was
// written first stands, so that whoever carries a job on repeats what was said of
// it, and never contradicts it.
package ledger

import (
	"context"
	"errors"
	"iter"
	"regexp"
	"strings"
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
	// ErrTooLarge is reported for a value over the limit of the store. Trying again
	// does not help.
	ErrTooLarge = errors.New("too large for the ledger")
)

// Store is a key-value store with revisions. Keys are those that [ValidKey]
// accepts. Every method retries until ctx ends while the server is away, and then
// reports the cause of ctx; a write may have been made all the same. Reads see
// what any client wrote before. A Store may be used by several goroutines.
type Store interface {
	// Get returns the value of key and its revision. It reports ErrNotFound.
	Get(ctx context.Context, key string) (value []byte, revision uint64, err error)
	// Put writes key if its revision is still the expected one, and returns the
	// new revision, which is higher than any before. A revision of 0 means that the
	// key must not be there. It reports ErrConflict, ErrFull and ErrTooLarge. A write whose
	// answer was lost is found again by its value, and is no conflict.
	//
	// The key is forgotten after ttl, rounded up to whole seconds, and at most two
	// seconds later, unless it is written again before. With a ttl of 0 it is kept
	// for as long as the store keeps keys.
	Put(ctx context.Context, key string, value []byte, expected uint64, ttl time.Duration) (revision uint64, err error)
	// Delete forgets key, whatever its revision. It is no error if it is not there.
	// A store that is full may need room for that, and report ErrFull.
	Delete(ctx context.Context, key string) error
	// List yields all entries whose key matches the pattern, in which an asterisk
	// stands for one token and a final > for one or more, in any order and each once.
	// Entries that are written or removed meanwhile may be among them or not. It ends
	// after the first error.
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

// keyTokens are one or more tokens, separated by dots. The characters are those
// that the buckets of NATS take.
var keyTokens = regexp.MustCompile(`^[-/_=a-zA-Z0-9]+(\.[-/_=a-zA-Z0-9]+)*$`)

// ValidKey reports whether a Store takes key.
func ValidKey(key string) bool { return keyTokens.MatchString(key) }

// ValidPattern reports whether a Store takes pattern to list keys.
func ValidPattern(pattern string) bool {
	if rest, ok := strings.CutSuffix(pattern, ">"); ok {
		if rest == "" {
			return true
		}
		if pattern, ok = strings.CutSuffix(rest, "."); !ok {
			return false
		}
	}
	for token := range strings.SplitSeq(pattern, ".") {
		if token != "*" && !keyTokens.MatchString(token) {
			return false
		}
	}
	return true
}

package ledger

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

var (
	// ErrReused is reported for a request that has the id of a job and another
	// content.
	ErrReused = errors.New("the same source and id came before with another type or other data")
	// ErrLost is reported when another worker has claimed the job meanwhile.
	ErrLost = errors.New("another worker has taken the job over")
	// ErrEnded is reported when the job has ended before.
	ErrEnded = errors.New("the job has ended")
	// ErrNewer is reported for an entry that a newer version of Holdfast wrote. It is
	// left as it is: who rewrites it would drop what he does not know.
	ErrNewer = errors.New("a newer version of Holdfast wrote it; update this worker")
	// ErrDamaged is reported for an entry that cannot be read. That does not mend
	// itself.
	ErrDamaged = errors.New("the ledger's entry is damaged")
)

// Version is that of the entries' form. A change that an older program would
// misread, or whose loss would do harm, gets the next one.
const Version = 1

const (
	// Retention is how long a job is remembered after its end.
	Retention = 30 * 24 * time.Hour
	// openRetention is how long what is written before the end is kept: longer, so
	// that a job that ends within two weeks is remembered whole.
	openRetention = Retention + 14*24*time.Hour
	// tombstoneRetention is how long the cancellation of a job is remembered that
	// has not come.
	tombstoneRetention = 24 * time.Hour
)

// Head is the entry of a job that changes, only ever by compare-and-set. It is
// JSON in the ledger, and does not grow with the number of items.
type Head struct {
	// Version is that of the entry's form.
	Version int `json:"version"`
	// Digest is of the request; empty for a job that was cancelled before it came.
	Digest string `json:"digest,omitempty"`
	// Owner is the worker that has the job, Attempt how often it was claimed.
	Owner   string `json:"owner,omitempty"`
	Attempt uint64 `json:"attempt,omitempty"`
	// Reply is where the request's message is settled.
	Reply string `json:"reply,omitempty"`
	// Stored is when the request was stored in its stream, Began when the job was
	// first claimed.
	Stored time.Time `json:"stored,omitzero"`
	Began  time.Time `json:"began,omitzero"`
	// Parts is in how many entries the plan lies; 0 while there is none.
	Parts int `json:"parts,omitempty"`
	// Orderly is the last attempt that ended in order, though not with the job's end:
	// what it and those before it began does not count as failed tries.
	Orderly uint64 `json:"orderly,omitempty"`
	// AwaySince is since when the job is put off because the Engine or the sink is
	// away.
	AwaySince time.Time `json:"awaySince,omitzero"`
	// Cancelled is set when somebody asked for it.
	Cancelled bool `json:"cancelled,omitempty"`
	// End is the terminal event; empty until there is one.
	End json.RawMessage `json:"end,omitempty"`
}

// Begun is an item that was begun. It is an entry of its own in the ledger.
type Begun struct {
	// Version is that of the entry's form.
	Version int `json:"version"`
	// Attempt is the last attempt that began the item.
	Attempt uint64 `json:"attempt"`
	// Tries counts the attempts that began the item and did not end in order.
	Tries int `json:"tries"`
	// Record says what the last of them may have left behind; empty if that is
	// nothing.
	Record json.RawMessage `json:"record,omitempty"`
}

func (h *Head) ended() bool { return len(h.End) > 0 }

// retention is how long the head is kept as it is.
func (h *Head) retention() time.Duration {
	switch {
	case h.ended():
		return Retention
	case h.Digest == "":
		return tombstoneRetention
	}
	return openRetention
}

// Decode reads an entry, or a document within one, whose member version is its form; the
// caller knows the forms from 1 up to known. Members that into does not have are passed
// over, so a change that may not be passed over makes a new form. What names the document
// in an error, which is ErrNewer or ErrDamaged.
func Decode(what string, known int, raw []byte, into any) error {
	var form struct {
		Version int `json:"version"`
	}
	err := json.Unmarshal(raw, &form)
	switch {
	case err == nil && form.Version > known:
		return fmt.Errorf("%s has form %d, and this version reads form %d: %w", what, form.Version, known, ErrNewer)
	case err == nil && form.Version < 1:
		err = fmt.Errorf("it has form %d", form.Version)
	case err == nil:
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("%w: %s: %w", ErrDamaged, what, err)
	}
	return nil
}

// Encode writes an entry. Documents within it stay as they are, byte for byte, if
// they are compact.
func Encode(entry any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(entry); err != nil {
		return nil, fmt.Errorf("encode an entry of the ledger: %w", err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

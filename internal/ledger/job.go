package ledger

import (
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
)

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
// JSON in the ledger.
type Head struct {
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
	// Begun are the items that are begun and have not ended, by their place in the
	// plan.
	Begun map[int]Begun `json:"begun,omitempty"`
	// AwaySince is since when the job is put off because the Engine or the sink is
	// away.
	AwaySince time.Time `json:"awaySince,omitzero"`
	// Cancelled is set when somebody asked for it.
	Cancelled bool `json:"cancelled,omitempty"`
	// End is the terminal event; empty until there is one.
	End json.RawMessage `json:"end,omitempty"`
}

// Begun is an item that was begun.
type Begun struct {
	// Tries counts the attempts at it that ended without a word.
	Tries int `json:"tries"`
	// Note says what the last of them may have left behind.
	Note json.RawMessage `json:"note,omitempty"`
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

func decodeHead(key string, raw []byte) (Head, error) {
	var h Head
	if err := json.Unmarshal(raw, &h); err != nil {
		return Head{}, fmt.Errorf("the ledger's entry %s is damaged; remove it from its bucket: %w", key, err)
	}
	return h, nil
}

func encodeHead(h Head) ([]byte, error) {
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode a job's entry: %w", err)
	}
	return raw, nil
}

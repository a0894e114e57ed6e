package sink

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
)

// FormatVersion is the version of the layout that is written, and the highest that is
// read.
const FormatVersion = 1

// IdentityName is the key of the object that makes a place a sink. It is written once.
const IdentityName = "holdfast.json"

// MaxIdentity bounds that object, in bytes; a larger one is none of ours.
const MaxIdentity = 64 << 10

// Identity is what that object holds.
type Identity struct {
	FormatVersion int       `json:"formatVersion"`
	ID            string    `json:"id"`
	Created       time.Time `json:"created"`
	// Format is how images are stored there if a configuration does not say it; empty for a
	// sink that an earlier version has set up.
	Format string `json:"format,omitempty"`
}

// NewIdentity returns the identity of a sink that is set up now, with this format.
func NewIdentity(format string) Identity {
	return Identity{FormatVersion: FormatVersion, ID: uuid.NewString(), Created: time.Now().UTC(), Format: format}
}

// Encode returns the identity as it is stored.
func (i Identity) Encode() ([]byte, error) {
	raw, err := json.MarshalIndent(i, "", "  ")
	return append(raw, '\n'), err
}

// DecodeIdentity reads an identity. It refuses one that is damaged, or of a newer format.
func DecodeIdentity(raw []byte) (Identity, error) {
	var own Identity
	// The version comes first: what a newer one holds need not look like ours.
	err := json.Unmarshal(raw, &own)
	switch {
	case own.FormatVersion > FormatVersion:
		return Identity{}, fmt.Errorf("%s is of format %d, and this version of holdfast knows only %d; use a newer one",
			IdentityName, own.FormatVersion, FormatVersion)
	case err != nil, own.FormatVersion < 1, own.ID == "":
		return Identity{}, fmt.Errorf("%s is damaged; restore it from a copy (the points are not touched)", IdentityName)
	}
	return own, nil
}

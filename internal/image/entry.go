package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// entryVersion is the version of the entries that this package writes and reads.
const entryVersion = 1

// maxEntry bounds what is read of an entry, in bytes.
const maxEntry = 64 << 10

// Entry says in which blob a layer is. It is a hint: who reads it proves what it says.
type Entry struct {
	FormatVersion int `json:"formatVersion"`
	// DiffID is the digest of the plain bytes, Digest that of the blob: "sha256:<hex>".
	DiffID string `json:"diffID"`
	Digest string `json:"digest"`
	// Size is the blob's, UncompressedSize that of the plain bytes.
	Size             int64 `json:"size"`
	UncompressedSize int64 `json:"uncompressedSize"`
	// Pushed are the digests under which daemons push the layer, compressed by them.
	Pushed []string `json:"pushed,omitempty"`
}

// entryKey returns the key of a layer's entry.
func entryKey(diffID string) string {
	return path.Join(sink.LayersName, strings.TrimPrefix(diffID, "sha256:")+".json")
}

// artifact is the layer as an artifact.
func (e Entry) artifact() events.Artifact {
	return events.Artifact{Key: sink.BlobKey(e.Digest), MediaType: point.MediaTypeLayer, Name: e.DiffID,
		Size: e.Size, Digest: e.Digest, UncompressedSize: e.UncompressedSize}
}

func entryOf(layer *events.Artifact) Entry {
	return Entry{DiffID: layer.Name, Digest: layer.Digest, Size: layer.Size, UncompressedSize: layer.UncompressedSize}
}

func (e Entry) put(ctx context.Context, to sink.Sharer) error {
	e.FormatVersion = entryVersion
	raw, err := json.Marshal(e, json.Deterministic(true), jsontext.WithIndent("  "))
	if err != nil {
		return fmt.Errorf("encode the entry of layer %s: %w", e.DiffID, err)
	}
	return to.PutShared(ctx, entryKey(e.DiffID), append(raw, '\n'))
}

// decodeEntry reads an entry. ok is false for one that is damaged, of another layer, or of
// a later version: then the layer is stored anew, and gets another entry.
func decodeEntry(raw []byte, diffID string) (e Entry, ok bool) {
	err := json.Unmarshal(raw, &e)
	return e, err == nil && e.FormatVersion == entryVersion && e.DiffID == diffID && e.Size > 0 && e.UncompressedSize >= 0 &&
		sink.CheckDigest(e.Digest) == nil && len(e.Pushed) <= maxPushed &&
		!slices.ContainsFunc(e.Pushed, func(d string) bool { return sink.CheckDigest(d) != nil })
}

// Find returns a layer that a sink has, with a blob of the size that it should have, and
// whether it has it. It keeps the blob from being removed as garbage.
func Find(ctx context.Context, in Sink, diffID string) (a events.Artifact, found bool, err error) {
	e, found, err := find(ctx, in, diffID)
	return e.artifact(), found, err
}

// find is Find, and returns the layer's entry.
func find(ctx context.Context, in Sink, diffID string) (e Entry, found bool, err error) {
	if err := sink.CheckDigest(diffID); err != nil {
		return e, false, err
	}
	raw, err := readSmall(ctx, in, entryKey(diffID))
	if errors.Is(err, sink.ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	e, ok := decodeEntry(raw, diffID)
	if !ok {
		return e, false, nil
	}
	a := e.artifact()
	found, err = Adopt(ctx, in, &a)
	return e, found, err
}

// Adopt reports whether a sink has the blob of an artifact. It keeps the blob from being
// removed as garbage.
func Adopt(ctx context.Context, in Sink, a *events.Artifact) (bool, error) {
	info, err := in.Stat(ctx, sink.BlobKey(a.Digest))
	if errors.Is(err, sink.ErrNotFound) || err == nil && info.Size != a.Size {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return keep(ctx, in, a.Digest)
}

// Enter has a layer found whose blob is in a sink.
func Enter(ctx context.Context, in sink.Sharer, layer *events.Artifact) error {
	return entryOf(layer).put(ctx, in)
}

// Forget has a layer whose blob is damaged stored anew by the next point that has it, which
// mends the blob for all.
func Forget(ctx context.Context, in sink.Sharer, layer *events.Artifact) error {
	return in.RemoveShared(ctx, entryKey(layer.Name))
}

func readSmall(ctx context.Context, from sink.Reader, key string) ([]byte, error) {
	f, err := from.Open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var raw bytes.Buffer
	_, err = raw.ReadFrom(io.LimitReader(f, maxEntry))
	return raw.Bytes(), err
}

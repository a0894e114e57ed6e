package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
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
	// Pushed are the blobs as which daemons push the layer, compressed by them.
	Pushed []v1.Descriptor `json:"pushed,omitempty"`
	// Damaged is set when somebody has seen that the blob is not what it was, or not there.
	// Then nothing relies on it until it is stored anew.
	Damaged bool `json:"damaged,omitempty"`
	// Sum is the digest of the entry without this member: no other member can be proven
	// without reading the layer.
	Sum string `json:"sum,omitempty"`
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
	err := e.seal()
	var raw []byte
	if err == nil {
		raw, err = json.Marshal(e, json.Deterministic(true), jsontext.WithIndent("  "))
	}
	if err != nil {
		return fmt.Errorf("encode the entry of layer %s: %w", e.DiffID, err)
	}
	return to.PutShared(ctx, entryKey(e.DiffID), append(raw, '\n'))
}

// seal sets the entry's sum.
func (e *Entry) seal() error {
	e.Sum = ""
	sum := sha256.New()
	err := json.MarshalWrite(sum, e, json.Deterministic(true))
	e.Sum = codec.Digest(sum)
	return err
}

// decodeEntry reads an entry. ok is false for one that is damaged, of another layer, or of
// a later version: then the layer is stored anew, and gets another entry.
func decodeEntry(raw []byte, diffID string) (e Entry, ok bool) {
	err := json.Unmarshal(raw, &e)
	sealed := e
	err = errors.Join(err, sealed.seal())
	return e, err == nil && e.Sum == sealed.Sum && e.FormatVersion == entryVersion && e.DiffID == diffID &&
		e.Size > 0 && e.UncompressedSize >= 0 &&
		sink.CheckDigest(e.Digest) == nil && len(e.Pushed) <= maxPushed &&
		!slices.ContainsFunc(e.Pushed, func(d v1.Descriptor) bool { return sink.CheckDigest(d.Digest.String()) != nil || d.Size <= 0 })
}

// Find returns a layer that a sink has, with a blob of the size that it should have, and
// whether it has it. It keeps the blob from being removed as garbage.
func Find(ctx context.Context, in Sink, diffID string) (a events.Artifact, found bool, err error) {
	e, found, err := find(ctx, in, diffID)
	return e.artifact(), found, err
}

// find is Find, and returns the layer's entry.
func find(ctx context.Context, in Sink, diffID string) (e Entry, found bool, err error) {
	if e, found, err = look(ctx, in, diffID); found {
		found, err = keep(ctx, in, e.Digest)
	}
	return e, found, err
}

// look is find, and keeps nothing.
func look(ctx context.Context, in sink.Reader, diffID string) (e Entry, found bool, err error) {
	e, found, err = readEntry(ctx, in, diffID)
	if err != nil || !found || e.Damaged {
		return e, false, err
	}
	info, err := in.Stat(ctx, sink.BlobKey(e.Digest))
	if errors.Is(err, sink.ErrNotFound) || err == nil && info.Size != e.Size {
		return e, false, nil
	}
	return e, err == nil, err
}

// Lacking returns how many of the layers with these diff ids a sink does not have. It only
// looks: what is there may be removed as garbage.
func Lacking(ctx context.Context, in sink.Reader, diffIDs []string) (count int, err error) {
	for _, d := range diffIDs {
		_, found, err := look(ctx, in, d)
		if err != nil {
			return 0, err
		}
		if !found {
			count++
		}
	}
	return count, nil
}

// readEntry returns the entry of a layer, and whether there is one that can be read.
func readEntry(ctx context.Context, from sink.Reader, diffID string) (e Entry, ok bool, err error) {
	if err := sink.CheckDigest(diffID); err != nil {
		return e, false, err
	}
	raw, err := readSmall(ctx, from, entryKey(diffID))
	if errors.Is(err, sink.ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	e, ok = decodeEntry(raw, diffID)
	return e, ok, nil
}

// Adopt reports whether a sink has the blob of an artifact, as far as that can be known
// without reading a layer: that is of a layer what its entry names, and what else describes
// an image is read, and proven. It keeps the blob from being removed as garbage.
func Adopt(ctx context.Context, in Sink, a *events.Artifact) (bool, error) {
	if a.MediaType == point.MediaTypeLayer {
		e, found, err := find(ctx, in, a.Name)
		return found && e.Digest == a.Digest && e.Size == a.Size, err
	}
	f, err := in.Open(ctx, sink.BlobKey(a.Digest))
	if errors.Is(err, sink.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	_, err = io.Copy(io.Discard, codec.NewRawReader(f, point.Stored(a)))
	if errors.Is(err, codec.ErrDamaged) {
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

// Forget has a layer whose blob is not what it was, or not there, stored anew by the next
// point that has it: where that comes out as the same blob, all points have it again that
// refer to it. Blobs differ by what compressed them: instead is the digest of another blob in
// which the layer is by now, and then this one stays as it is; else it is empty.
//
// It needs no right to remove anything. If it comes when the layer was just stored anew, that
// is done once more.
func Forget(ctx context.Context, in Sink, layer *events.Artifact) (instead string, err error) {
	e, ok, err := readEntry(ctx, in, layer.Name)
	switch {
	case err != nil || !ok || e.Damaged:
		return "", err
	case e.Digest != layer.Digest:
		return e.Digest, nil
	}
	e.Damaged = true
	return "", e.put(ctx, in)
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

// Package blob is what the points of a sink share: blobs, each of which is there once, the
// entries by which they are found, and which of them are garbage. A blob has a layer of an
// image, or a document that describes one; package image says how they make an image.
package blob

import (
	"bytes"
	"cmp"
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
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

// entryVersion is the version of the entries that this package writes and reads.
const entryVersion = 1

// MaxPushed is how many blobs an entry has as which its layer was pushed.
const MaxPushed = 8

// maxEntry bounds what is read of an entry, in bytes.
const maxEntry = 64 << 10

// Entry says in which blob a layer is. It is a hint: who reads it proves what it says.
type Entry struct {
	FormatVersion int `json:"formatVersion"`
	// Name is the digest of the plain bytes, Digest that of the blob: "sha256:<hex>". Where
	// blobs are encrypted, Name is what the sink's [seal.Names] make of it.
	Name   string `json:"diffID"`
	Digest string `json:"digest"`
	// Size is the blob's, UncompressedSize that of the plain bytes.
	Size             int64 `json:"size"`
	UncompressedSize int64 `json:"uncompressedSize"`
	// MediaType is that of a blob that is a layer as a daemon has pushed it by itself; empty for
	// any other.
	MediaType string `json:"mediaType,omitempty"`
	// Pushed are the blobs as which daemons push the layer, compressed by them.
	Pushed []v1.Descriptor `json:"pushed,omitempty"`
	// Encryption is how the blob is encrypted; empty for one in clear.
	Encryption string `json:"encryption,omitempty"`
	// Damaged is set when somebody has seen that the blob is not what it was, or not there.
	// Then nothing relies on it until it is stored anew.
	Damaged bool `json:"damaged,omitempty"`
	// Sum is the digest of the entry without this member: no other member can be proven
	// without reading the layer.
	Sum string `json:"sum,omitempty"`
}

// entryKey returns the key of a layer's entry.
func entryKey(name string) string {
	return path.Join(sink.LayersName, strings.TrimPrefix(name, "sha256:")+".json")
}

// Artifact is the layer as an artifact.
func (e Entry) Artifact() events.Artifact {
	return events.Artifact{Key: sink.BlobKey(e.Digest), MediaType: cmp.Or(e.MediaType, point.MediaTypeLayer), Name: e.Name,
		Size: e.Size, Digest: e.Digest, UncompressedSize: e.UncompressedSize, Encryption: e.Encryption}
}

func entryOf(layer *events.Artifact) Entry {
	e := Entry{Name: layer.Name, Digest: layer.Digest, Size: layer.Size, UncompressedSize: layer.UncompressedSize,
		Encryption: layer.Encryption}
	if point.IsPushed(layer) {
		e.MediaType = layer.MediaType
	}
	return e
}

// Put has the layer found. Where blobs are encrypted, the entry is too.
func (e Entry) Put(ctx context.Context, to Sink) error {
	e.FormatVersion = entryVersion
	err := e.sum()
	var raw []byte
	if err == nil {
		raw, err = json.Marshal(e, json.Deterministic(true), jsontext.WithIndent("  "))
	}
	if err != nil {
		return fmt.Errorf("encode the entry of layer %s: %w", e.Name, err)
	}
	key := entryKey(e.Name)
	if raw = append(raw, '\n'); e.Encryption != "" {
		names := seal.Of(to).Names()
		if names == nil {
			return ErrNoNames
		}
		raw = names.Seal(key, raw)
	}
	return to.PutShared(ctx, key, raw)
}

// sum sets the entry's sum.
func (e *Entry) sum() error {
	e.Sum = ""
	sum := sha256.New()
	err := json.MarshalWrite(sum, e, json.Deterministic(true))
	e.Sum = codec.Digest(sum)
	return err
}

// ErrNoNames: an entry is encrypted, and the key of the sink's names is not that by which it
// was made, or there is none.
var ErrNoNames = errors.New("where the layer is is encrypted, and no nameKeyFile here opens it")

// decodeEntry reads an entry. ok is false for one that is damaged, of another layer, or of
// a later version: then the layer is stored anew, and gets another entry. The same is one that
// is encrypted and cannot be opened here.
func decodeEntry(raw []byte, names *seal.Names, name string) (e Entry, ok bool) {
	isSealed := !strings.HasPrefix(name, "sha256:")
	if isSealed {
		var err error
		if raw, err = names.Open(entryKey(name), raw); err != nil {
			return e, false
		}
	}
	err := json.Unmarshal(raw, &e)
	summed := e
	err = errors.Join(err, summed.sum())
	return e, err == nil && e.Sum == summed.Sum && e.FormatVersion == entryVersion && e.Name == name &&
		(e.Encryption != "") == isSealed && e.Size > 0 && e.UncompressedSize >= 0 &&
		sink.CheckDigest(e.Digest) == nil && isPushedType(e.MediaType) && len(e.Pushed) <= MaxPushed &&
		!slices.ContainsFunc(e.Pushed, func(d v1.Descriptor) bool { return sink.CheckDigest(d.Digest.String()) != nil || d.Size <= 0 })
}

func isPushedType(mediaType string) bool {
	return mediaType == "" || point.IsPushed(&events.Artifact{MediaType: mediaType})
}

// Find returns the entry of a layer that a sink has, with a blob of the size that it should
// have, and whether it has it. It keeps the blob from being removed as garbage.
func Find(ctx context.Context, in Sink, diffID string) (e Entry, found bool, err error) {
	return find(ctx, in, seal.Of(in).Names().Of(diffID))
}

// find is Find by the layer's name.
func find(ctx context.Context, in Sink, name string) (e Entry, found bool, err error) {
	if e, found, err = look(ctx, in, name); found {
		found, err = keep(ctx, in, e.Digest)
	}
	return e, found, err
}

// look is find, and keeps nothing.
func look(ctx context.Context, in sink.Reader, name string) (e Entry, found bool, err error) {
	e, found, err = readEntry(ctx, in.Open, seal.Of(in).Names(), name)
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
		_, found, err := look(ctx, in, seal.Of(in).Names().Of(d))
		if err != nil {
			return 0, err
		}
		if !found {
			count++
		}
	}
	return count, nil
}

// ReadEntry returns the entry of a layer, and whether there is one that can be read. open opens
// an object of the sink, whose names these are.
func ReadEntry(ctx context.Context, open Open, names *seal.Names, diffID string) (e Entry, ok bool, err error) {
	return readEntry(ctx, open, names, names.Of(diffID))
}

// readEntry is ReadEntry by the layer's name.
func readEntry(ctx context.Context, open Open, names *seal.Names, name string) (e Entry, ok bool, err error) {
	if err := sink.CheckDigest("sha256:" + strings.TrimPrefix(name, "sha256:")); err != nil {
		return e, false, err
	}
	raw, err := readSmall(ctx, open, entryKey(name))
	if errors.Is(err, sink.ErrNotFound) {
		return e, false, nil
	}
	if err != nil {
		return e, false, err
	}
	e, ok = decodeEntry(raw, names, name)
	return e, ok, nil
}

// Adopt reports whether a sink has the blob of an artifact, as far as that can be known
// without reading a layer: that is of a layer what its entry names, and what else describes
// an image is read, as by Prove. It keeps the blob from being removed as garbage.
func Adopt(ctx context.Context, in Sink, a *events.Artifact) (bool, error) {
	if !IsFound(a) {
		return Prove(ctx, in, a)
	}
	e, found, err := find(ctx, in, a.Name)
	return found && e.Digest == a.Digest && e.Size == a.Size, err
}

// Prove is Adopt of a blob that is read, whatever it is, and proven.
func Prove(ctx context.Context, in Sink, a *events.Artifact) (bool, error) {
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

// IsFound reports whether an artifact is what an entry finds: a layer, or a pack.
func IsFound(a *events.Artifact) bool {
	return point.IsLayer(a) || a.MediaType == point.MediaTypePack
}

// Enter has a layer found whose blob is in a sink.
func Enter(ctx context.Context, in Sink, layer *events.Artifact) error {
	return entryOf(layer).Put(ctx, in)
}

// Forget has a layer whose blob is not what it was, or not there, stored anew by the next
// point that has it: where that comes out as the same blob, all points have it again that
// refer to it. Blobs differ by what compressed them: instead is the digest of another blob in
// which the layer is by now, and then this one stays as it is; else it is empty.
//
// Where blobs are encrypted, each is another one, and it needs the key of the sink's names: else
// it reports ErrNoNames. It needs no right to remove anything. If it comes when the layer was just stored anew, that
// is done once more.
func Forget(ctx context.Context, in Sink, layer *events.Artifact) (instead string, err error) {
	e, ok, err := readEntry(ctx, in.Open, seal.Of(in).Names(), layer.Name)
	switch {
	case err != nil || ok && e.Damaged:
		return "", err
	case !ok && layer.Encryption != "":
		return "", notOpened(ctx, in, layer.Name)
	case !ok:
		return "", nil
	case e.Digest != layer.Digest:
		return e.Digest, nil
	}
	e.Damaged = true
	return "", e.Put(ctx, in)
}

// notOpened reports ErrNoNames if there is an entry, which was not opened.
func notOpened(ctx context.Context, in sink.Reader, name string) error {
	_, err := in.Stat(ctx, entryKey(name))
	switch {
	case err == nil:
		return ErrNoNames
	case errors.Is(err, sink.ErrNotFound):
		return nil
	}
	return err
}

// Open opens an object of a sink.
type Open func(ctx context.Context, key string) (io.ReadCloser, error)

func readSmall(ctx context.Context, open Open, key string) ([]byte, error) {
	f, err := open(ctx, key)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var raw bytes.Buffer
	_, err = raw.ReadFrom(io.LimitReader(f, maxEntry))
	return raw.Bytes(), err
}

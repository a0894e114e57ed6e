// Package point is a recovery point as it is stored: its manifest, its names in a
// sink, and the catalogue of all points there.
package point

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/schemas"
)

// MaxManifest bounds the size of a manifest, in bytes. The lists in it are whole,
// however long; an Engine has no container whose lists come near this.
const MaxManifest = 16 << 20

// usualManifest is more than most manifests have, in bytes.
const usualManifest = 8 << 10

// FormatVersion is the version of the manifest that this package writes, SealedVersion
// that of one whose private members are encrypted, LayeredVersion that of one whose image lies
// in blobs that points share, SealedLayersVersion that of one which is both, PiecesVersion that of
// one whose volumes lie in such blobs, PushedVersion that of one whose layers are as an Engine
// has pushed them, and SealedPiecesVersion that of one whose volumes lie in such blobs and whose
// private members are encrypted.
const (
	FormatVersion       = 1
	SealedVersion       = 2
	LayeredVersion      = 3
	SealedLayersVersion = 4
	PiecesVersion       = 5
	PushedVersion       = 6
	SealedPiecesVersion = 7
)

// newestVersion is the latest that Decode reads; it reads all before it.
const newestVersion = SealedPiecesVersion

// What is wrong with a manifest or a mark, wrapped by the errors of reading one. Any
// other error is the sink's.
var (
	// ErrNewer: its format is newer than those that this program reads.
	ErrNewer = errors.New("a newer version of holdfast made it")
	// ErrDamaged: it is not as it was written, or lies where another one belongs.
	ErrDamaged = errors.New("damaged")
	// ErrUnwritable: it cannot be stored as it is, which is a fault of the program.
	ErrUnwritable = errors.New("not fit to be stored")
)

// Names of a point's artifacts.
const (
	ImageArchive    = "image.tar.zst"
	ImageConfig     = "image.json" // of an image whose layers are encrypted
	ContainerConfig = "container.json"
	// ContainerContext is what ContainerConfig names but does not hold, see package
	// recreate.
	ContainerContext = "context.json"
	VolumeConfig     = "volume.json"
)

// Media types of a point's artifacts.
const (
	// MediaTypeImageArchive is what docker save writes, compressed by zstd.
	MediaTypeImageArchive = "application/vnd.docker.image.archive.v1.tar+zstd"
	// MediaTypeLayer is one layer of an image, compressed by zstd: a blob that points share.
	// Its artifact's Name is the digest of its plain bytes, which is its diff id; of one that is
	// encrypted, what the sink's [seal.Names] make of that.
	MediaTypeLayer = v1.MediaTypeImageLayerZstd
	// MediaTypeLayerGzip and MediaTypeLayerPlain are layers as an Engine has pushed them by itself.
	// Of the former, UncompressedSize is what its end says of it.
	MediaTypeLayerGzip  = v1.MediaTypeImageLayerGzip
	MediaTypeLayerPlain = v1.MediaTypeImageLayer
	// MediaTypeImageConfig and MediaTypeImageManifest are blobs that describe the image of
	// those layers, MediaTypeImageIndex and MediaTypeImageLayout the files that make the
	// point's folder an OCI image layout. Of an encrypted image only the configuration is
	// there, in the point's folder.
	MediaTypeImageConfig   = v1.MediaTypeImageConfig
	MediaTypeImageManifest = v1.MediaTypeImageManifest
	MediaTypeImageIndex    = v1.MediaTypeImageIndex
	MediaTypeImageLayout   = v1.MediaTypeLayoutHeader
	// MediaTypeContainerConfig is the Engine's inspect document of a container.
	MediaTypeContainerConfig = "application/vnd.docker.container.inspect.v1+json"
	// MediaTypeContainerContext is what that document names but does not hold.
	MediaTypeContainerContext = "application/vnd.holdfast.container.context.v1+json"
	// MediaTypeVolume is the content of a volume or a bind mount: a PAX tar, compressed
	// by zstd. Its artifact's Name is the volume's, or the path inside the container.
	MediaTypeVolume = "application/vnd.holdfast.volume.v1.tar+zstd"
	// MediaTypePieces is of which pieces such a content consists, and MediaTypePack a blob of
	// many of them; see package pieces. The Name of the first is the volume's, and its
	// UncompressedSize that of the tar; the Name of a pack is the digest of its plain bytes.
	MediaTypePieces = "application/vnd.holdfast.volume.v1.pieces+zstd"
	MediaTypePack   = "application/vnd.holdfast.pack.v1+zstd"
	// MediaTypeVolumeConfig is the Engine's document of a volume that is an item: its
	// driver, options and labels.
	MediaTypeVolumeConfig = "application/vnd.docker.volume.inspect.v1+json"
)

// Manifest describes a point. A point exists when its manifest does; what the
// manifest says counts, and the path that it lies at is for people.
type Manifest struct {
	FormatVersion int `json:"formatVersion"`
	// ID is the point's id.
	ID   string      `json:"id"`
	Host string      `json:"host"`
	Item events.Item `json:"item"`
	// Job is the id of the job that stored the point, Request what asked for it.
	Job     string  `json:"job"`
	Request Request `json:"request,omitzero"`
	// Attempt is the delivery of the request that the point was stored in.
	Attempt uint64 `json:"attempt"`
	// SnapshotTime is the moment that the point shows, StoredTime the moment
	// when its last artifact was durable.
	SnapshotTime time.Time `json:"snapshotTime"`
	StoredTime   time.Time `json:"storedTime"`
	// Quiesce is what was done to the running container; empty for an image.
	Quiesce events.Quiesce `json:"quiesce,omitempty"`
	// NotRunningMillis is how long the container was paused or stopped.
	NotRunningMillis float64 `json:"notRunningMs"`
	// State is the state that the container was in; empty for an image.
	State events.State `json:"state,omitempty"`
	// Image says what is in the image archive; nil for a point that has none.
	Image *Image `json:"image,omitempty"`
	// Engine is the Engine that the point was made by.
	Engine      Engine               `json:"engine,omitzero"`
	Artifacts   []events.Artifact    `json:"artifacts"`
	NotIncluded []events.NotIncluded `json:"notIncluded,omitzero"`
	// Warnings are what somebody should look at; at most [events.MaxWarnings].
	Warnings []Warning         `json:"warnings,omitempty"`
	Tags     map[string]string `json:"tags,omitempty"`
	// Holdfast is the version of the program that stored the point.
	Holdfast string `json:"holdfast"`
	// Signature is the key of the object that holds the signature of the manifest, as its
	// bytes are stored; empty for a point that is not signed.
	Signature string `json:"signature,omitempty"`
	// Sealed holds what is not needed to find a point and to prune it, encrypted for the
	// recipients of the sink: Request, Image, Engine, NotIncluded and Warnings, which are
	// empty then until Unseal. Nil for a point that is stored in clear.
	Sealed []byte `json:"sealed,omitempty"`

	// Signed is who has signed it, if it was read from a sink.
	Signed sign.Verdict `json:"-"`
}

// Warning is an [events.Warning] as it is stored. Later versions may add codes, so
// a reader must take any.
type Warning struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Request identifies the request that a point was stored for.
type Request struct {
	Source        string `json:"source"`
	ID            string `json:"id"`
	CorrelationID string `json:"correlationId"`
}

// Image says what is in the image archive.
type Image struct {
	// ID is the image's id on the Engine that saved it. A classic image store
	// names an image by its configuration, a containerd store by its manifest,
	// so an engine of the other kind loads the same image under another id.
	ID string `json:"id"`
	// ConfigDigest is the digest of the image's configuration, the same on every
	// engine.
	ConfigDigest string `json:"configDigest"`
	// Reference is what the container was created from, or the image was
	// selected by.
	Reference string `json:"reference,omitempty"`
	// Layers is the number of layers.
	Layers int `json:"layers"`
	// Transport is how the image came from the Engine, and TransportReason says why so, for
	// people, in at most [MaxReason] bytes; empty in points of versions that did not keep it.
	Transport       events.Transport `json:"transport,omitempty"`
	TransportReason string           `json:"transportReason,omitempty"`
}

// MaxReason is how many bytes the reason for a transport has at most.
const MaxReason = 1024

// Engine describes a Docker Engine.
type Engine struct {
	Version string `json:"version"`
	// Store is how the Engine keeps images: the name of a storage driver, such
	// as overlay2, or of a containerd snapshotter.
	Store string `json:"store"`
}

// Warn adds warnings, within the bounds of a list.
func (m *Manifest) Warn(warnings ...events.Warning) {
	all := m.PublicWarnings()
	for _, w := range warnings {
		all = events.Warn(all, w.Code, "%s", w.Message)
	}
	m.Warnings = nil
	for _, w := range all {
		m.Warnings = append(m.Warnings, Warning{Code: string(w.Code), Message: w.Message})
	}
}

// PublicWarnings returns the warnings as they are published.
func (m *Manifest) PublicWarnings() []events.Warning {
	var warnings []events.Warning
	for _, w := range m.Warnings {
		warnings = append(warnings, events.Warning{Code: events.WarningCode(w.Code), Message: w.Message})
	}
	return warnings
}

// Encode returns the manifest as it is stored: indented JSON, ended by a
// newline.
func (m *Manifest) Encode() ([]byte, error) {
	b, err := m.marshal()
	if err != nil {
		return nil, fmt.Errorf("encode the manifest of point %s: %w: %w", m.ID, ErrUnwritable, err)
	}
	if len(b) > MaxManifest {
		return nil, fmt.Errorf("the manifest of point %s is %w: it would have %d bytes, and at most %d are read back",
			m.ID, ErrUnwritable, len(b), MaxManifest)
	}
	if err := schemas.Validate("manifest", b); err != nil {
		return nil, fmt.Errorf("the manifest of point %s is %w: %w", m.ID, ErrUnwritable, err)
	}
	return b, nil
}

// form is the JSON of what lies in a sink: for people to read, whatever names an Engine has.
var form = json.JoinOptions(json.Deterministic(true), jsontext.WithIndent("  "), jsontext.AllowInvalidUTF8(true))

func (m *Manifest) marshal() ([]byte, error) {
	b, err := json.Marshal(m, form)
	return append(b, '\n'), err
}

// Decode reads a manifest. It reports ErrNewer if its format is newer than those
// that are known here, and ErrDamaged if it does not follow the schema, or is larger
// than MaxManifest.
func Decode(raw []byte) (*Manifest, error) {
	if len(raw) > MaxManifest {
		return nil, fmt.Errorf("the manifest is %w: it has more than %d bytes", ErrDamaged, MaxManifest)
	}
	if m, ok := decodeOwn(raw); ok {
		return m, nil
	}
	if v := formatVersion(raw); v > newestVersion {
		return nil, fmt.Errorf("the manifest is of format %d, and this version of holdfast reads 1 to %d: %w; use that one",
			v, newestVersion, ErrNewer)
	}
	if err := schemas.Validate("manifest", raw); err != nil {
		return nil, fmt.Errorf("the manifest is %w: %w", ErrDamaged, err)
	}
	var m Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("the manifest is %w: %w", ErrDamaged, err)
	}
	return &m, nil
}

// Read reads the manifest of the point in the folder dir. It reports
// [sink.ErrNotFound] if there is no such point, and errors as Decode does;
// ErrDamaged also if the manifest is that of another point, names objects that are
// not the point's own, or is not signed as the sink asks for; see [sign.Trust].
func Read(ctx context.Context, from sink.Reader, dir string) (*Manifest, error) {
	return read(ctx, from, dir, bytes.NewBuffer(make([]byte, 0, usualManifest)))
}

// ReadUnchecked is Read, and takes a manifest whoever has signed it, and wherever it lies.
func ReadUnchecked(ctx context.Context, from sink.Reader, dir string) (*Manifest, error) {
	var raw bytes.Buffer
	return readRaw(ctx, from, dir, &raw)
}

// readRaw reads a manifest, by way of a buffer.
func readRaw(ctx context.Context, from sink.Reader, dir string, raw *bytes.Buffer) (*Manifest, error) {
	f, err := from.Open(ctx, path.Join(dir, sink.ManifestName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw.Reset()
	if _, err := raw.ReadFrom(io.LimitReader(f, MaxManifest+1)); err != nil {
		return nil, fmt.Errorf("read the manifest in %s: %w", dir, err)
	}
	return Decode(raw.Bytes())
}

// read is Read, by way of a buffer.
func read(ctx context.Context, from sink.Reader, dir string, raw *bytes.Buffer) (*Manifest, error) {
	m, err := readRaw(ctx, from, dir, raw)
	if err == nil {
		err = m.checkPlace(dir)
	}
	if err == nil {
		m.Signed, err = checkSignature(ctx, from, m.Signature, raw.Bytes())
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// checkPlace reports ErrDamaged unless the manifest belongs in the folder dir.
func (m *Manifest) checkPlace(dir string) error {
	if own := Dir(m.Host, m.Item.Kind, m.Item.Name, m.ID); own != dir {
		return fmt.Errorf("the manifest is %w: it is that of the point in %s; move it back", ErrDamaged, own)
	}
	keys := make([]string, 0, len(m.Artifacts)+1)
	for _, a := range m.Artifacts {
		if m.IsLayered() && IsShared(&a) {
			continue
		}
		keys = append(keys, a.Key)
	}
	if m.Signature != "" {
		keys = append(keys, m.Signature)
	}
	for _, key := range keys {
		if sink.CheckKey(key) != nil || !strings.HasPrefix(key, dir+"/") {
			return fmt.Errorf("the manifest is %w: it names the object %q, which is not in the point's folder", ErrDamaged, key)
		}
	}
	return nil
}

// IsLayered reports whether the manifest may name what points share.
func (m *Manifest) IsLayered() bool { return m.FormatVersion >= LayeredVersion }

// IsLayer reports whether an artifact is a layer of an image.
func IsLayer(a *events.Artifact) bool { return a.MediaType == MediaTypeLayer || IsPushed(a) }

// IsPushed reports whether an artifact is a layer as an Engine has pushed it by itself.
func IsPushed(a *events.Artifact) bool {
	return a.MediaType == MediaTypeLayerGzip || a.MediaType == MediaTypeLayerPlain
}

// IsVolume reports whether an artifact is the content of a volume or bind mount, stored whole
// or in pieces.
func IsVolume(a *events.Artifact) bool {
	return a.MediaType == MediaTypeVolume || a.MediaType == MediaTypePieces
}

// IsShared reports whether an artifact is a blob, which other points may have too.
func IsShared(a *events.Artifact) bool { return a.Key == sink.BlobKey(a.Digest) }

// Shared returns the artifacts that are blobs, see [IsShared].
func (m *Manifest) Shared() []events.Artifact {
	return slices.DeleteFunc(slices.Clone(m.Artifacts), func(a events.Artifact) bool { return !IsShared(&a) })
}

// Stored is what is known of the bytes of an artifact.
func Stored(a *events.Artifact) codec.Stored {
	return codec.Stored{Size: a.Size, Digest: a.Digest, UncompressedSize: a.UncompressedSize}
}

// Plain returns the plain bytes of an artifact that is stored compressed, as which f was opened;
// decrypt opens what is encrypted. As by [codec.NewReader], nothing of them is to be trusted before
// their end. Who gets them closes f with them; after an error it is closed.
func Plain(f io.ReadCloser, a *events.Artifact, decrypt codec.Decrypt) (io.ReadCloser, error) {
	plain, err := NewReader(f, a, decrypt)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return codec.Over(plain, f), nil
}

// NewReader is as [codec.NewReader], for an artifact that is stored compressed, however that is.
func NewReader(r io.Reader, a *events.Artifact, decrypt codec.Decrypt) (io.ReadCloser, error) {
	switch a.MediaType {
	case MediaTypeLayerGzip:
		return codec.NewGzipReader(r, Stored(a), decrypt)
	case MediaTypeLayerPlain:
		plain, err := codec.NewPlainReader(r, Stored(a), decrypt)
		return io.NopCloser(plain), err
	}
	return codec.NewReader(r, Stored(a), decrypt)
}

// Size returns how many bytes the artifacts have in their sink.
func (m *Manifest) Size() (bytes int64) {
	for _, a := range m.Artifacts {
		bytes += a.Size
	}
	return bytes
}

// OwnSize is Size without what points share.
func (m *Manifest) OwnSize() (bytes int64) {
	for _, a := range m.Artifacts {
		if !IsShared(&a) {
			bytes += a.Size
		}
	}
	return bytes
}

// Added returns how many bytes were stored for the point, without those that lay in the
// sink already.
func (m *Manifest) Added() int64 { return events.Added(m.Artifacts) }

// Artifact returns the artifact of a media type, or nil.
func (m *Manifest) Artifact(mediaType string) *events.Artifact {
	for i := range m.Artifacts {
		if m.Artifacts[i].MediaType == mediaType {
			return &m.Artifacts[i]
		}
	}
	return nil
}

// Volumes returns what is stored of the volumes and bind mounts that the point holds.
func (m *Manifest) Volumes() (all []events.Artifact) {
	for _, a := range m.Artifacts {
		if IsVolume(&a) {
			all = append(all, a)
		}
	}
	return all
}

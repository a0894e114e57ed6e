package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

// ErrMistaken is reported by [Writer.Next]'s layers when a layer that was left out, as the
// sink seemed to have it, was another one. Then the image is read once more, with Blind set.
var ErrMistaken = errors.New("a layer that the sink does not have is as large as one that it has, and was taken for it")

// Writer stores an image in the layered format: of its layers those that the sink does not
// have. It implements [archive.Layers]. One goroutine uses it, but for a [Receiver], whose
// layers may be stored at the same time; StoredBytes is for any.
type Writer struct {
	Sink        sink.Sink
	Staging     sink.Staging
	Compression codec.Compression
	// Most is how many bytes a layer has at most, stored; 0 if that is not known.
	Most int64
	// Blind has every layer read and compressed, also those that the sink has.
	Blind bool
	// Wrap returns what bytes for the sink pass through; nil for nothing.
	Wrap func(io.Writer) io.Writer
	// Waiting is called when the Writer begins to wait for the sink otherwise, and what it
	// returns when it has waited; nil for nothing.
	Waiting func() (end func())

	ctx     context.Context //nolint:containedctx // of the one image
	seal    *seal.Seal      // the sink's, if it encrypts
	diffIDs []string        // of the image's layers, the lowest first
	mu      sync.Mutex      // guards known, stored and pushed while layers are received
	known   map[string]events.Artifact
	sizes   map[int64]int // how many layers of a plain size the sink had that have not come yet
	stored  map[string]events.Artifact
	pushed  map[string][]v1.Descriptor // as which daemons have pushed the layers that the sink has
	out     atomic.Pointer[codec.Writer]
	total   atomic.Int64 // bytes that were stored of layers that have ended
}

var _ archive.Layers = (*Writer)(nil)

// Begin looks which of the layers with these diff ids the sink has. ctx is that of all
// that is stored, unless Within gives another one.
func (w *Writer) Begin(ctx context.Context, diffIDs []string) error {
	if s := seal.Of(w.Sink); s.Encrypts() {
		if w.seal = s; s.Names() == nil {
			return blob.ErrNoNames
		}
	}
	w.ctx, w.known, w.stored, w.pushed = ctx, map[string]events.Artifact{}, map[string]events.Artifact{}, map[string][]v1.Descriptor{}
	w.diffIDs, w.sizes = diffIDs, map[int64]int{}
	for _, d := range diffIDs {
		if _, ok := w.known[d]; ok {
			continue
		}
		e, found, err := blob.Find(ctx, w.Sink, d)
		if err != nil {
			return err
		}
		if found {
			a := e.Artifact()
			a.Reused = true
			w.known[d], w.pushed[d] = a, e.Pushed
			w.sizes[a.UncompressedSize]++
		}
	}
	return nil
}

// Within has what is stored from now on end with ctx, and not with that of Begin.
func (w *Writer) Within(ctx context.Context) { w.ctx = ctx }

// Missing returns the places of the layers that the sink does not have.
func (w *Writer) Missing() (places []int) {
	for i, d := range w.diffIDs {
		if _, known := w.known[d]; !known {
			places = append(places, i)
		}
	}
	return places
}

// StoredBytes returns how many bytes were stored so far.
func (w *Writer) StoredBytes() int64 {
	if out := w.out.Load(); out != nil {
		return w.total.Load() + out.StoredBytes()
	}
	return w.total.Load()
}

// Next implements [archive.Layers].
func (w *Writer) Next(digest string, size int64) (archive.Layer, error) {
	if !w.Blind && w.seemsKnown(digest, size) {
		return &leftOut{w}, nil
	}
	l, err := w.create()
	if err != nil {
		return nil, err
	}
	w.out.Store(l.out)
	return l, nil
}

// told is how large a layer is at least, in bytes, that is told by its size: many small ones
// have the same, and take no time to compress.
const told = 1 << 20

// seemsKnown reports whether the layer that comes next is one that the sink has, as far as
// that can be told before it is read. An archive without digests has its layers in no order,
// but as they are: then their size tells.
func (w *Writer) seemsKnown(digest string, size int64) bool {
	if digest != "" {
		_, known := w.known[digest]
		return known
	}
	known := size >= told && w.sizes[size] > 0
	if known {
		w.sizes[size]--
	}
	return known
}

// waiting is for a defer of its result, around what waits for the sink.
func (w *Writer) waiting() (end func()) {
	if w.Waiting == nil {
		return func() {}
	}
	return w.Waiting()
}

// create begins a layer that is stored.
func (w *Writer) create() (*layer, error) {
	end := w.waiting()
	stored, err := w.Staging.CreateBlob(w.ctx, w.seal.Most(w.Most))
	end()
	if err != nil {
		return nil, err
	}
	to := io.Writer(stored)
	if w.Wrap != nil {
		to = w.Wrap(stored)
	}
	out, err := codec.NewWriter(w.destination(to), w.Compression)
	if err != nil {
		return nil, errors.Join(err, stored.Abort())
	}
	return &layer{writer: w, blob: stored, out: out}, nil
}

// destination is what encrypts on the way to the sink, if that has recipients.
func (w *Writer) destination(to io.Writer) codec.Destination {
	if w.seal == nil {
		return codec.Destination{Writer: to}
	}
	return codec.Destination{Writer: to, Encrypt: w.seal.Encrypt}
}

// leftOut takes a layer that the sink has.
type leftOut struct{ w *Writer }

func (*leftOut) Write(p []byte) (int, error) { return len(p), nil }
func (*leftOut) Abort()                      {}

func (l *leftOut) End(diffID string) error {
	a, known := l.w.known[diffID]
	if !known {
		return ErrMistaken
	}
	l.w.stored[diffID] = a
	return nil
}

// layer is a layer that is stored.
type layer struct {
	writer *Writer
	blob   sink.BlobWriter
	out    *codec.Writer
}

func (l *layer) Write(p []byte) (int, error) { return l.out.Write(p) }

func (l *layer) Abort() {
	l.out.Abort()
	_ = l.blob.Abort() // what it leaves is the attempt's to discard
	l.writer.out.CompareAndSwap(l.out, nil)
}

func (l *layer) End(diffID string) error { return l.end(diffID, v1.Descriptor{}) }

// end is End of a layer that a daemon has pushed as this blob; the zero value for none.
func (l *layer) end(diffID string, pushed v1.Descriptor) error {
	w := l.writer
	stored, err := l.out.Finish()
	if err != nil {
		return err
	}
	defer w.waiting()()
	w.mu.Lock()
	defer w.mu.Unlock()
	a, known := w.known[diffID]
	if known {
		w.stored[diffID] = a
		return errors.Join(l.blob.Abort(), w.pushedAs(diffID, &a, pushed))
	}
	if err := l.blob.Commit(stored.Digest); err != nil {
		return err
	}
	w.total.Add(stored.Size)
	w.out.CompareAndSwap(l.out, nil)
	e := blob.Entry{Name: w.seal.Names().Of(diffID), Digest: stored.Digest, Size: stored.Size,
		UncompressedSize: stored.UncompressedSize, Encryption: w.encryption()}
	if digest := pushed.Digest.String(); digest != "" && digest != diffID {
		e.Pushed = []v1.Descriptor{pushed}
		w.pushed[diffID] = e.Pushed
	}
	if err := e.Put(w.ctx, w.Sink); err != nil {
		return err
	}
	w.known[diffID], w.stored[diffID] = e.Artifact(), e.Artifact()
	return nil
}

// reuse takes a layer that the sink has by now, and that a daemon would push as this blob; the
// zero value if that is not known.
func (w *Writer) reuse(diffID string, as v1.Descriptor) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	a, known := w.known[diffID]
	if !known {
		return nil // which Finish reports
	}
	w.stored[diffID] = a
	return w.pushedAs(diffID, &a, as)
}

// pushedAs enters as which blob a daemon pushes a layer that the sink has; the zero value
// for none. Somebody may have seen meanwhile that what the sink has is damaged: that stands.
func (w *Writer) pushedAs(diffID string, a *events.Artifact, as v1.Descriptor) error {
	before, pushed := w.pushed[diffID], as.Digest.String()
	if pushed == "" || pushed == diffID || slices.ContainsFunc(before, func(d v1.Descriptor) bool { return d.Digest == as.Digest }) {
		return nil
	}
	e, ok, err := blob.ReadEntry(w.ctx, w.Sink.Open, w.seal.Names(), diffID)
	if err != nil || !ok || e.Damaged || e.Digest != a.Digest {
		return err
	}
	e.Pushed = append([]v1.Descriptor{as}, before[:min(len(before), blob.MaxPushed-1)]...)
	w.pushed[diffID] = e.Pushed
	return e.Put(w.ctx, w.Sink)
}

// Finish stores what describes the image of this configuration, all of whose layers have
// come, and returns its artifacts.
func (w *Writer) Finish(info *archive.Info) (all []events.Artifact, err error) {
	done := map[string]bool{}
	var layers []events.Artifact
	for _, d := range info.DiffIDs {
		a, ok := w.stored[d]
		if !ok {
			return nil, fmt.Errorf("%w: layer %s did not come", archive.ErrCorrupt, d)
		}
		layers = append(layers, a)
		if !done[d] {
			done[d] = true
			all = append(all, a)
		}
	}
	if w.seal != nil {
		config, err := w.file(point.ImageConfig, point.MediaTypeImageConfig, info.Config)
		return append(all, config), err
	}
	config, err := w.document(point.MediaTypeImageConfig, info.Config)
	if err != nil {
		return nil, err
	}
	raw, err := ociManifest(config, layers)
	if err != nil {
		return nil, err
	}
	manifest, err := w.document(point.MediaTypeImageManifest, raw)
	if err != nil {
		return nil, err
	}
	if raw, err = ociIndex(manifest); err != nil {
		return nil, err
	}
	index, err := w.file(layoutIndexName, point.MediaTypeImageIndex, raw)
	if err != nil {
		return nil, err
	}
	layout, err := w.file(layoutName, point.MediaTypeImageLayout, ociLayout)
	return append(all, config, manifest, index, layout), err
}

// document stores a blob that describes the image.
func (w *Writer) document(mediaType string, raw []byte) (events.Artifact, error) {
	a := describe(mediaType, raw)
	a.Key = sink.BlobKey(a.Digest)
	there, err := blob.Adopt(w.ctx, w.Sink, &a)
	if a.Reused = there; there || err != nil {
		return a, err
	}
	to, err := w.Staging.CreateBlob(w.ctx, a.Size)
	if err != nil {
		return a, err
	}
	defer func() { _ = to.Abort() }()
	if _, err := io.Copy(to, bytes.NewReader(raw)); err != nil {
		return a, err
	}
	return a, to.Commit(a.Digest)
}

// file stores a file of the point's folder.
func (w *Writer) file(name, mediaType string, raw []byte) (events.Artifact, error) {
	a := describe(mediaType, raw)
	if a.Encryption = w.encryption(); a.Encryption != "" {
		name += seal.Suffix
	}
	file, key, err := w.Staging.Create(w.ctx, name, w.seal.Most(a.Size))
	if err != nil {
		return a, err
	}
	defer func() { _ = file.Abort() }()
	out, err := codec.NewPlainWriter(w.destination(file))
	if err != nil {
		return a, err
	}
	if _, err := out.Write(raw); err != nil {
		out.Abort()
		return a, err
	}
	stored, err := out.Finish()
	if err != nil {
		return a, err
	}
	a.Key, a.Size, a.Digest = key, stored.Size, stored.Digest
	return a, file.Commit()
}

// encryption is the format that what is stored is encrypted in; empty for none.
func (w *Writer) encryption() string {
	if w.seal == nil {
		return ""
	}
	return seal.Format
}

func describe(mediaType string, raw []byte) events.Artifact {
	size := int64(len(raw))
	return events.Artifact{MediaType: mediaType, Size: size, UncompressedSize: size, Digest: digest.FromBytes(raw).String()}
}

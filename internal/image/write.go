package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

// ErrReordered is reported by [Writer.Next]'s layers when a layer that was left out, as
// the sink seemed to have it, was another one. Then the image is read once more, with
// Blind set.
var ErrReordered = errors.New("the layers of the image come in another order than they have")

// Writer stores an image in the layered format: of its layers those that the sink does not
// have. It implements [archive.Layers]. One goroutine uses it; StoredBytes is for any.
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

	ctx    context.Context //nolint:containedctx // of the one image
	likely []string        // diff ids of the layers that have not come yet, in their order
	known  map[string]events.Artifact
	stored map[string]events.Artifact
	pushed map[string][]v1.Descriptor // as which daemons have pushed the layers that the sink has
	out    atomic.Pointer[codec.Writer]
	total  atomic.Int64 // bytes that were stored of layers that have ended
}

var _ archive.Layers = (*Writer)(nil)

// Begin looks which of the layers with these diff ids the sink has. ctx is that of all
// that is stored.
func (w *Writer) Begin(ctx context.Context, diffIDs []string) error {
	w.ctx, w.known, w.stored, w.pushed = ctx, map[string]events.Artifact{}, map[string]events.Artifact{}, map[string][]v1.Descriptor{}
	for _, d := range diffIDs {
		if _, ok := w.known[d]; ok {
			continue
		}
		e, found, err := find(ctx, w.Sink, d)
		if err != nil {
			return err
		}
		if found {
			a := e.artifact()
			a.Reused = true
			w.known[d], w.pushed[d] = a, e.Pushed
		}
	}
	w.likely = diffIDs
	return nil
}

// Missing returns the places of the layers that the sink does not have.
func (w *Writer) Missing() (places []int) {
	for i, d := range w.likely {
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
func (w *Writer) Next(digest string) (archive.Layer, error) {
	guess := digest
	if digest == "" && len(w.likely) > 0 {
		guess, w.likely = w.likely[0], w.likely[1:]
	}
	if _, known := w.known[guess]; known && !w.Blind {
		return &leftOut{w}, nil
	}
	l, err := w.create()
	if err != nil {
		return nil, err
	}
	w.out.Store(l.out)
	return l, nil
}

// create begins a layer that is stored.
func (w *Writer) create() (*layer, error) {
	blob, err := w.Staging.CreateBlob(w.ctx, w.Most)
	if err != nil {
		return nil, err
	}
	to := io.Writer(blob)
	if w.Wrap != nil {
		to = w.Wrap(blob)
	}
	out, err := codec.NewWriter(codec.Destination{Writer: to}, w.Compression)
	if err != nil {
		return nil, errors.Join(err, blob.Abort())
	}
	return &layer{writer: w, blob: blob, out: out}, nil
}

// leftOut takes a layer that the sink has.
type leftOut struct{ w *Writer }

func (*leftOut) Write(p []byte) (int, error) { return len(p), nil }
func (*leftOut) Abort()                      {}

func (l *leftOut) End(diffID string) error {
	a, known := l.w.known[diffID]
	if !known {
		return ErrReordered
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
	a, known := w.known[diffID]
	if known {
		w.stored[diffID] = a
		return errors.Join(l.blob.Abort(), w.pushedAs(&a, pushed))
	}
	if err := l.blob.Commit(stored.Digest); err != nil {
		return err
	}
	w.total.Add(stored.Size)
	w.out.CompareAndSwap(l.out, nil)
	e := Entry{DiffID: diffID, Digest: stored.Digest, Size: stored.Size, UncompressedSize: stored.UncompressedSize}
	if digest := pushed.Digest.String(); digest != "" && digest != diffID {
		e.Pushed = []v1.Descriptor{pushed}
		w.pushed[diffID] = e.Pushed
	}
	if err := e.put(w.ctx, w.Sink); err != nil {
		return err
	}
	w.known[diffID], w.stored[diffID] = e.artifact(), e.artifact()
	return nil
}

// maxPushed is how many blobs an entry has as which its layer was pushed.
const maxPushed = 8

// pushedAs enters as which blob a daemon pushes a layer that the sink has; the zero value
// for none. Somebody may have seen meanwhile that what the sink has is damaged: that stands.
func (w *Writer) pushedAs(a *events.Artifact, blob v1.Descriptor) error {
	before, digest := w.pushed[a.Name], blob.Digest.String()
	if digest == "" || digest == a.Name || slices.ContainsFunc(before, func(d v1.Descriptor) bool { return d.Digest == blob.Digest }) {
		return nil
	}
	e, ok, err := readEntry(w.ctx, w.Sink, a.Name)
	if err != nil || !ok || e.Damaged || e.Digest != a.Digest {
		return err
	}
	e.Pushed = append([]v1.Descriptor{blob}, before[:min(len(before), maxPushed-1)]...)
	w.pushed[a.Name] = e.Pushed
	return e.put(w.ctx, w.Sink)
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
	there, err := Adopt(w.ctx, w.Sink, &a)
	if a.Reused = there; there || err != nil {
		return a, err
	}
	blob, err := w.Staging.CreateBlob(w.ctx, a.Size)
	if err != nil {
		return a, err
	}
	defer func() { _ = blob.Abort() }()
	if _, err := io.Copy(blob, bytes.NewReader(raw)); err != nil {
		return a, err
	}
	return a, blob.Commit(a.Digest)
}

// file stores a file of the point's folder.
func (w *Writer) file(name, mediaType string, raw []byte) (events.Artifact, error) {
	a := describe(mediaType, raw)
	out, key, err := w.Staging.Create(w.ctx, name, a.Size)
	if err != nil {
		return a, err
	}
	a.Key = key
	defer func() { _ = out.Abort() }()
	if _, err := io.Copy(out, bytes.NewReader(raw)); err != nil {
		return a, err
	}
	return a, out.Commit()
}

func describe(mediaType string, raw []byte) events.Artifact {
	sum := sha256.Sum256(raw)
	size := int64(len(raw))
	return events.Artifact{MediaType: mediaType, Size: size, UncompressedSize: size, Digest: "sha256:" + hex.EncodeToString(sum[:])}
}

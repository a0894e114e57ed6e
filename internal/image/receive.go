package image

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"

	ocidigest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/sink"
)

// ErrNotTaken is wrapped by the errors of a [Receiver] that are the fault of what was
// pushed. Then the image is to be read in another way.
var ErrNotTaken = errors.New("the push of the image is not taken")

// ErrLacks is reported for a manifest that names a blob which was not sent, as the daemon was
// told that it need not be, and which is a layer that a sink does not have. The daemon is to
// push again: then it is told otherwise. It is ErrNotTaken.
var ErrLacks = fmt.Errorf("%w: a sink does not have a layer that the Engine has left out", ErrNotTaken)

// ErrTooMuch is reported when more is pushed than may be. It is ErrNotTaken.
var ErrTooMuch = fmt.Errorf("%w: the Engine sends more than what is new", ErrNotTaken)

// layersAtOnce is how many layers are compressed at a time, which bounds the memory.
const layersAtOnce = 2

// Targets are where a [Receiver] stores an image: a sink, or several beside each other.
type Targets interface {
	// Left returns what stores the image in each of the sinks that are left.
	Left() []*Writer
	// Store has take store a layer, which write writes, in each of the sinks that are left. It
	// returns the error of write, or why no sink has the layer. Where there is one sink, Store may be
	// called by several goroutines.
	Store(take TakeLayer, write WriteLayer) error
}

// WriteLayer writes a layer, plain.
type WriteLayer func(to io.Writer) error

// TakeLayer stores in the sink of w the layer that write writes.
type TakeLayer func(w *Writer, write WriteLayer) error

// One is the one sink that w stores in.
func One(w *Writer) Targets { return one{w} }

type one struct{ w *Writer }

func (o one) Left() []*Writer { return []*Writer{o.w} }

func (o one) Store(take TakeLayer, write WriteLayer) error { return take(o.w, write) }

// Receiver stores an image in the layered format as a daemon pushes it: blobs, of any
// compression, in any order and several at a time, and a manifest at the end. It may be
// used by several goroutines.
type Receiver struct {
	to      Targets
	o       ReceiverOptions
	diffIDs []string
	slots   chan struct{}
	bytes   atomic.Int64 // that came

	mu       sync.Mutex
	has      map[*Writer]map[string]bool // diff ids of layers that a sink has
	lacks    map[string]bool             // digests of layers that are to come, though they were left out
	again    bool                        // something was added to lacks since the last push
	repeated bool                        // one push has ended
	aliases  map[string]string           // diff ids of layers, by digests that daemons push them under
	came     map[string]string           // diff ids of layers that came, by their digests
	configs  map[string][]byte           // documents that came, by their digests
	info     *archive.Info               // of the image whose manifest has come
	blobs    []v1.Descriptor             // its layers, as the manifest names them
}

// ReceiverOptions say what a Receiver takes.
type ReceiverOptions struct {
	// ConfigDigest is that of the image's configuration; empty if it is not known.
	ConfigDigest string
	// Ask has the daemon leave out every blob that it asks for, but for the configuration.
	// The manifest shows whether the sinks have those.
	Ask bool
	// Most is how many bytes the blobs have together at most; 0 for any number.
	Most int64
}

// NewReceiver returns a receiver of the image with these layers, the lowest first. The targets'
// writers have begun it, and are used by nobody else until the push has ended.
func NewReceiver(to Targets, diffIDs []string, o ReceiverOptions) *Receiver {
	r := &Receiver{to: to, o: o, diffIDs: diffIDs, has: map[*Writer]map[string]bool{},
		lacks: map[string]bool{}, aliases: map[string]string{}, came: map[string]string{}, configs: map[string][]byte{}}
	writers := to.Left()
	// A layer that comes is compressed once for each sink.
	r.slots = make(chan struct{}, max(layersAtOnce/max(len(writers), 1), 1))
	for _, w := range writers {
		r.has[w] = map[string]bool{}
		for diffID, blobs := range w.pushed {
			r.has[w][diffID], r.aliases[diffID] = true, diffID
			for _, d := range blobs {
				r.aliases[d.Digest.String()] = diffID
			}
		}
	}
	return r
}

// stored reports whether all sinks that are left have a layer.
func (r *Receiver) stored(diffID string) bool {
	return !slices.ContainsFunc(r.to.Left(), func(w *Writer) bool { return !r.has[w][diffID] })
}

// Known reports whether a blob need not be sent, and a size for it in bytes.
func (r *Receiver) Known(digest string) (size int64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacks[digest] || digest == r.o.ConfigDigest {
		return 0, false
	}
	diffID, alias := r.aliases[digest]
	if r.o.Ask || alias && r.stored(diffID) {
		return toldSize, true // nothing holds the size in the manifest against anything
	}
	return 0, false
}

// Begin takes a blob, which ends with ctx.
func (r *Receiver) Begin(ctx context.Context) *Received { return &Received{receiver: r, ctx: ctx} }

// Manifest takes the manifest of the image. It reports ErrNotTaken unless all layers of the
// image have come, or are in all sinks that are left.
func (r *Receiver) Manifest(raw []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.again { // Engines before 23 try another form of manifest when one is refused
		return ErrLacks
	}
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("%w: its manifest: %w", ErrNotTaken, err)
	}
	config, came := r.configs[m.Config.Digest.String()]
	if !came || r.o.ConfigDigest != "" && m.Config.Digest.String() != r.o.ConfigDigest {
		return fmt.Errorf("%w: its manifest is of another image, with the configuration %.100q", ErrNotTaken, m.Config.Digest)
	}
	diffIDs, err := DiffIDs(config)
	if err != nil || !slices.Equal(diffIDs, r.diffIDs) || len(diffIDs) != len(m.Layers) {
		return fmt.Errorf("%w: it has other layers than the image", ErrNotTaken)
	}
	if err := r.layers(diffIDs, m.Layers); err != nil {
		return err
	}
	r.info, r.blobs = &archive.Info{ConfigDigest: m.Config.Digest.String(), Config: config, DiffIDs: diffIDs}, m.Layers
	return nil
}

// layers holds the layers with these diff ids against the blobs that the manifest names, and against
// what the sinks have.
func (r *Receiver) layers(diffIDs []string, blobs []v1.Descriptor) error {
	for i, want := range diffIDs {
		digest := blobs[i].Digest.String()
		if got, came := r.came[digest]; came && got != want {
			return fmt.Errorf("%w: the blob %s is the layer %s, and not %s", ErrNotTaken, digest, got, want)
		}
		switch {
		case r.stored(want):
		case r.repeated:
			return fmt.Errorf("%w: layer %s did not come, and a sink does not have it", ErrNotTaken, want)
		default:
			r.lacks[digest], r.again = true, true
		}
	}
	if r.again {
		return ErrLacks
	}
	return nil
}

// Again reports whether the daemon is to push the image once more, as ErrLacks was reported. That
// is so once at most: all layers that it has left out are known then.
func (r *Receiver) Again() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := r.again
	r.again, r.repeated = false, true
	return again
}

// toldSize is the size that a blob has for a daemon that need not send it.
const toldSize = 1

// Info returns what the image is when its push has ended. It reports ErrNotTaken if its manifest
// did not come.
func (r *Receiver) Info() (*archive.Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.info == nil {
		return nil, fmt.Errorf("%w: its manifest did not come", ErrNotTaken)
	}
	return r.info, nil
}

// Finish stores in a sink what describes the image, once Info has returned it, as
// [Writer.Finish] does.
func (r *Receiver) Finish(w *Writer) ([]events.Artifact, error) {
	r.mu.Lock()
	info, blobs := r.info, make([]v1.Descriptor, len(r.blobs))
	for i, d := range r.blobs {
		if digest := d.Digest.String(); r.came[digest] == "" && d.Size > toldSize && sink.CheckDigest(digest) == nil {
			// The daemon knows that by itself: one that keeps no blobs repeats the size that it was told.
			blobs[i] = v1.Descriptor{MediaType: d.MediaType, Digest: d.Digest, Size: d.Size}
		}
	}
	r.mu.Unlock()
	for i, diffID := range info.DiffIDs {
		if err := w.reuse(diffID, blobs[i]); err != nil {
			return nil, err
		}
	}
	return w.Finish(info)
}

// Bytes returns how many bytes have come so far.
func (r *Receiver) Bytes() int64 { return r.bytes.Load() }

// Received is a blob that comes. One goroutine uses it, and ends it by Commit or Abort.
type Received struct {
	receiver *Receiver
	ctx      context.Context //nolint:containedctx // of the one blob
	document *bytes.Buffer   // what came of a document; nil for a layer
	layer    *unpacking      // nil for a document
	blob     v1.Descriptor   // of a layer, without its digest; the size is what came
}

// Write implements [io.Writer].
func (b *Received) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	r := b.receiver
	if came := r.bytes.Add(int64(len(p))); r.o.Most > 0 && came > r.o.Most {
		return 0, ErrTooMuch
	}
	if b.document == nil && b.layer == nil {
		if err := b.begin(p[0]); err != nil {
			return 0, err
		}
	}
	if b.layer != nil {
		b.blob.Size += int64(len(p))
		return b.layer.in.Write(p)
	}
	if b.document.Len()+len(p) > maxDocument {
		return 0, fmt.Errorf("%w: a document of it has more than %d bytes", ErrNotTaken, maxDocument)
	}
	return b.document.Write(p)
}

// begin finds out by its first byte what comes: a layer begins with the name of a file, or
// with what marks a compressed stream.
func (b *Received) begin(first byte) error {
	if first == '{' {
		b.document = &bytes.Buffer{}
		return nil
	}
	select {
	case b.receiver.slots <- struct{}{}:
	case <-b.ctx.Done():
		return context.Cause(b.ctx)
	}
	b.layer, b.blob.MediaType = b.receiver.unpack(), mediaType(first)
	return nil
}

// mediaType is that of a layer which begins so.
func mediaType(first byte) string {
	switch first {
	case 0x1f:
		return v1.MediaTypeImageLayerGzip
	case 0x28:
		return v1.MediaTypeImageLayerZstd
	}
	return v1.MediaTypeImageLayer
}

// Commit says that the blob is whole, and its digest. It reports whether it was a layer.
func (b *Received) Commit(digest string) (layer bool, err error) {
	r := b.receiver
	if b.layer == nil {
		if b.document == nil {
			return false, fmt.Errorf("%w: a blob of it is empty", ErrNotTaken)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.configs[digest] = b.document.Bytes()
		return false, nil
	}
	defer func() { <-r.slots }()
	b.blob.Digest = ocidigest.Digest(digest)
	b.layer.blob = b.blob
	if err := b.layer.end(nil); err != nil {
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came[digest] = b.layer.diffID
	return true, nil
}

var errBrokeOff = errors.New("it broke off")

// Abort says that the blob is not whole.
func (b *Received) Abort() {
	if b.layer == nil {
		return
	}
	_ = b.layer.end(errBrokeOff)
	<-b.receiver.slots
}

// unpacking is a layer that is unpacked, and stored in another form, while it comes.
type unpacking struct {
	receiver *Receiver
	in       *io.PipeWriter
	blob     v1.Descriptor // set before in is closed
	diffID   string        // set when all was unpacked
	ended    chan struct{} // closed when err is set
	err      error
}

func (r *Receiver) unpack() *unpacking {
	from, in := io.Pipe()
	u := &unpacking{receiver: r, in: in, ended: make(chan struct{})}
	go func() {
		defer close(u.ended)
		u.err = panics.Catch(func() error { return r.to.Store(u.take, func(to io.Writer) error { return u.run(from, to) }) })
		_ = from.CloseWithError(u.err)
	}()
	return u
}

// end ends what comes, whole or by an error, and returns when it is stored, or is not.
func (u *unpacking) end(err error) error {
	_ = u.in.CloseWithError(err)
	<-u.ended
	return u.err
}

// take is a TakeLayer.
func (u *unpacking) take(w *Writer, write WriteLayer) error {
	to, err := w.create()
	if err != nil {
		return err
	}
	stored := false
	defer func() {
		if !stored { // also after a panic
			to.Abort()
		}
	}()
	if err := write(to); err != nil {
		return err
	}
	if err := to.end(u.diffID, u.blob); err != nil {
		return err
	}
	stored = true
	u.receiver.mu.Lock()
	defer u.receiver.mu.Unlock()
	u.receiver.has[w][u.diffID] = true
	return nil
}

// run unpacks what comes.
func (u *unpacking) run(from io.Reader, to io.Writer) error {
	packed := bufio.NewReaderSize(from, 64<<10)
	plain, err := archive.Unpack(packed, maxWindow)
	if err != nil {
		return fmt.Errorf("%w: a layer: %w", ErrNotTaken, err)
	}
	defer plain.Close()
	sum := sha256.New()
	source := &pushed{Reader: plain}
	if _, err := io.CopyBuffer(io.MultiWriter(sum, to), source, make([]byte, 64<<10)); err != nil {
		return err
	}
	if _, err := packed.ReadByte(); err != io.EOF {
		return fmt.Errorf("%w: a layer goes on after its end", ErrNotTaken)
	}
	u.diffID = codec.Digest(sum)
	return nil
}

// pushed marks errors as the fault of what was pushed.
type pushed struct{ io.Reader }

func (p *pushed) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("%w: a layer: %w", ErrNotTaken, err)
	}
	return n, err
}

// maxWindow bounds the memory that a layer may ask for which a daemon has compressed by
// zstd, in bytes.
const maxWindow = 8 << 20

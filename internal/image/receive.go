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
// told that it need not be, and which is a layer that the sink does not have. The daemon is to
// push again: then it is told otherwise. It is ErrNotTaken.
var ErrLacks = fmt.Errorf("%w: the sink does not have a layer that the Engine has left out", ErrNotTaken)

// ErrTooMuch is reported when more is pushed than may be. It is ErrNotTaken.
var ErrTooMuch = fmt.Errorf("%w: the Engine sends more than what is new", ErrNotTaken)

// layersAtOnce is how many layers are compressed at a time, which bounds the memory.
const layersAtOnce = 2

// Receiver stores an image in the layered format as a daemon pushes it: blobs, of any
// compression, in any order and several at a time, and a manifest at the end. It may be
// used by several goroutines.
type Receiver struct {
	writer  *Writer
	o       ReceiverOptions
	diffIDs []string
	slots   chan struct{}
	bytes   atomic.Int64 // that came

	mu       sync.Mutex
	lacks    map[string]bool   // digests of layers that are to come, though they were left out
	again    bool              // something was added to lacks since the last push
	repeated bool              // one push has ended
	aliases  map[string]string // diff ids of layers that the sink has, by digests that daemons push them under
	came     map[string]string // diff ids of layers that came, by their digests
	configs  map[string][]byte // documents that came, by their digests
	info     *archive.Info     // of the image whose manifest has come
}

// ReceiverOptions say what a Receiver takes.
type ReceiverOptions struct {
	// ConfigDigest is that of the image's configuration; empty if it is not known.
	ConfigDigest string
	// Ask has the daemon leave out every blob that it asks for, but for the configuration.
	// The manifest shows whether the sink has those.
	Ask bool
	// Most is how many bytes the blobs have together at most; 0 for any number.
	Most int64
}

// NewReceiver returns a receiver of the image with these layers, the lowest first. w has
// begun it, and is used by nobody else until the push has ended.
func NewReceiver(w *Writer, diffIDs []string, o ReceiverOptions) *Receiver {
	r := &Receiver{writer: w, o: o, diffIDs: diffIDs, slots: make(chan struct{}, layersAtOnce),
		lacks: map[string]bool{}, aliases: map[string]string{}, came: map[string]string{}, configs: map[string][]byte{}}
	for diffID, blobs := range w.pushed {
		r.aliases[diffID] = diffID
		for _, d := range blobs {
			r.aliases[d.Digest.String()] = diffID
		}
	}
	return r
}

// Known reports whether a blob need not be sent, and a size for it in bytes.
func (r *Receiver) Known(digest string) (size int64, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.lacks[digest] || digest == r.o.ConfigDigest {
		return 0, false
	}
	if _, known = r.aliases[digest]; known || r.o.Ask {
		return toldSize, true // nothing holds the size in the manifest against anything
	}
	return 0, false
}

// Begin takes a blob, which ends with ctx.
func (r *Receiver) Begin(ctx context.Context) *Received { return &Received{receiver: r, ctx: ctx} }

// Manifest takes the manifest of the image. It reports ErrNotTaken unless all layers of the
// image have come, or are in the sink.
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
	r.info = &archive.Info{ConfigDigest: m.Config.Digest.String(), Config: config, DiffIDs: diffIDs}
	return nil
}

// layers takes the layers with these diff ids, as the manifest names their blobs.
func (r *Receiver) layers(diffIDs []string, blobs []v1.Descriptor) error {
	for i, want := range diffIDs {
		digest := blobs[i].Digest.String()
		if got, came := r.came[digest]; came && got != want {
			return fmt.Errorf("%w: the blob %s is the layer %s, and not %s", ErrNotTaken, digest, got, want)
		}
		a, known := r.writer.known[want]
		if !known && r.repeated {
			return fmt.Errorf("%w: layer %s did not come, and the sink does not have it", ErrNotTaken, want)
		} else if !known {
			r.lacks[digest], r.again = true, true
			continue
		}
		r.writer.stored[want] = a
		if err := r.learn(want, &a, blobs[i]); err != nil {
			return err
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

// learn enters as which blob the daemon has a layer that did not come, if it knows that by
// itself: one that keeps no blobs repeats the size that it was told.
func (r *Receiver) learn(diffID string, a *events.Artifact, blob v1.Descriptor) error {
	digest := blob.Digest.String()
	if _, came := r.came[digest]; came || blob.Size <= toldSize || sink.CheckDigest(digest) != nil {
		return nil
	}
	return r.writer.pushedAs(diffID, a, v1.Descriptor{MediaType: blob.MediaType, Digest: blob.Digest, Size: blob.Size})
}

// Finish stores what describes the image when its push has ended, as [Writer.Finish] does.
func (r *Receiver) Finish() (*archive.Info, []events.Artifact, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.info == nil {
		return nil, nil, fmt.Errorf("%w: its manifest did not come", ErrNotTaken)
	}
	all, err := r.writer.Finish(r.info)
	return r.info, all, err
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
	to, err := b.receiver.writer.create()
	if err != nil {
		<-b.receiver.slots
		return err
	}
	b.layer, b.blob.MediaType = unpack(to), mediaType(first)
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
	diffID, err := b.layer.end(nil)
	if err != nil {
		b.layer.to.Abort()
		return false, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.blob.Digest = ocidigest.Digest(digest)
	if err := b.layer.to.end(diffID, b.blob); err != nil {
		b.layer.to.Abort()
		return false, err
	}
	r.came[digest] = diffID
	return true, nil
}

var errBrokeOff = errors.New("it broke off")

// Abort says that the blob is not whole.
func (b *Received) Abort() {
	if b.layer == nil {
		return
	}
	_, _ = b.layer.end(errBrokeOff)
	b.layer.to.Abort()
	<-b.receiver.slots
}

// unpacking is a layer that is unpacked, and stored in another form, while it comes.
type unpacking struct {
	in     *io.PipeWriter
	to     *layer
	ended  chan struct{} // closed when what follows is set
	diffID string
	err    error
}

func unpack(to *layer) *unpacking {
	from, in := io.Pipe()
	u := &unpacking{in: in, to: to, ended: make(chan struct{})}
	go func() {
		defer close(u.ended)
		u.err = panics.Catch(func() error { return u.run(from) })
		_ = from.CloseWithError(u.err)
	}()
	return u
}

// end ends what comes: whole, or by an error.
func (u *unpacking) end(err error) (diffID string, _ error) {
	_ = u.in.CloseWithError(err)
	<-u.ended
	return u.diffID, u.err
}

func (u *unpacking) run(from io.Reader) error {
	packed := bufio.NewReaderSize(from, 64<<10)
	plain, err := archive.Unpack(packed, maxWindow)
	if err != nil {
		return fmt.Errorf("%w: a layer: %w", ErrNotTaken, err)
	}
	defer plain.Close()
	sum := sha256.New()
	source := &pushed{Reader: plain}
	if _, err := io.CopyBuffer(io.MultiWriter(sum, u.to), source, make([]byte, 64<<10)); err != nil {
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

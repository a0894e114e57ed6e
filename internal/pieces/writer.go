package pieces

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync/atomic"

	chunkers "github.com/PlakarKorp/go-cdc-chunkers"
	_ "github.com/PlakarKorp/go-cdc-chunkers/chunkers/fastcdc" // the algorithm
	"github.com/klauspost/compress/zstd"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

const algorithm = "fastcdc-v1.0.0"

// firstPack is how many stored bytes the first packs of a volume have, about.
const firstPack = 16 << 20

// packTarget is how many bytes the nth pack has, about: of a volume that needs thousands they
// are larger, as the manifest of the point names each.
func packTarget(n int) int64 { return firstPack << min(n/1000, 6) }

// Options say where a Writer stores a volume.
type Options struct {
	Sink        sink.Sink
	Staging     sink.Staging
	Compression codec.Compression
	// Wrap returns what the bytes of packs pass through; nil for nothing.
	Wrap func(io.Writer) io.Writer
	// Waiting is called when the Writer begins to wait for the sink otherwise, and what it
	// returns when it has waited; nil for nothing.
	Waiting func() (end func())
	// Known is what the sink has of the volume, Size about how many bytes it has, 0 if that
	// is not known.
	Known *Known
	Size  int64
}

// Writer stores a volume in pieces: in packs those that the sink does not have, and in the
// recipe which pieces the volume has. One goroutine uses it; StoredBytes is for any. It ends
// with Finish or Abort.
type Writer struct {
	o      Options
	seal   *seal.Seal // the sink's
	how    cut
	ctx    context.Context //nolint:containedctx // of the one stream
	recipe *codec.Writer
	sum    hash.Hash // of the stream
	size   int64

	in      *io.PipeWriter
	work    chan *buffers // free
	ordered chan *piece   // in the order of the stream
	zstd    *zstd.Encoder
	failed  atomic.Pointer[error] // the first error of who stores
	ended   chan struct{}         // closed when nothing is done any more
	stored  atomic.Int64          // bytes of packs

	packer packer
}

// piece is one piece on its way to the recipe.
type piece struct {
	record record
	known  *pack    // in which it lies already; nil for one that is new, or came before
	fresh  uint32   // which of the new ones it is, or is again
	work   *buffers // of a new one; nil for another one
	ready  chan struct{}
}

// buffers are what a new piece needs.
type buffers struct{ plain, stored []byte }

// NewWriter returns a Writer of one volume, whose recipe goes to the destination. ctx is that
// of all that is stored.
func NewWriter(ctx context.Context, to codec.Destination, o Options) (*Writer, error) {
	own := seal.Of(o.Sink)
	if own.Encrypts() && own.Names() == nil {
		return nil, blob.ErrNoNames
	}
	how := cut{o.Known.sizesFor(o.Size), fastCDC}
	if o.Known.sizes != how.sizes { // no piece would be found
		o.Known = &Known{at: map[key]uint32{}}
	}
	var cutKey []byte
	if own.Encrypts() {
		to.Encrypt, how.algorithm, cutKey = own.EncryptNamed, keyedFastCDC, own.Names().Cut()
	}
	r, in := io.Pipe()
	chunker, err := chunkers.NewChunker(algorithm, r,
		&chunkers.ChunkerOpts{MinSize: int(how.least), NormalSize: int(how.normal), MaxSize: int(how.most), Key: cutKey})
	if err != nil {
		return nil, fmt.Errorf("set up %s: %w", algorithm, err)
	}
	enc, threads, err := o.Compression.NewEncoder(int(how.most))
	if err != nil {
		return nil, err
	}
	recipe, err := codec.NewWriter(to, o.Compression)
	if err != nil {
		return nil, err
	}
	w := &Writer{o: o, seal: own, ctx: ctx, how: how, recipe: recipe, sum: sha256.New(), in: in, zstd: enc,
		work: make(chan *buffers, threads+2), ordered: make(chan *piece, 64), ended: make(chan struct{})}
	for range cap(w.work) {
		w.work <- &buffers{}
	}
	w.packer = packer{w: w, numbers: map[*pack]uint32{}}
	go w.run(chunker, r)
	return w, nil
}

// Write implements [io.Writer].
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.in.Write(p)
	w.sum.Write(p[:n])
	w.size += int64(n)
	return n, err
}

// StoredBytes returns how many bytes were stored so far.
func (w *Writer) StoredBytes() int64 { return w.stored.Load() + w.recipe.StoredBytes() }

var errAborted = errors.New("the stream was given up")

// Abort ends the stream in the middle. After Finish it does nothing.
func (w *Writer) Abort() {
	_ = w.in.CloseWithError(errAborted)
	<-w.ended
	w.recipe.Abort()
}

// Finish stores what is left, and returns what was stored of the recipe; the plain size is
// that of the volume.
func (w *Writer) Finish() (codec.Stored, error) {
	_ = w.in.Close()
	<-w.ended
	if failed := w.failed.Load(); failed != nil {
		return codec.Stored{}, *failed
	}
	var refs []packRef
	for _, p := range w.packer.packs {
		refs = append(refs, packRef{p.artifact.Digest, p.artifact.Size, p.plain})
	}
	end, err := appendEnd(nil, w.size, w.sum.Sum(nil), refs)
	if err == nil {
		_, err = w.recipe.Write(end)
	}
	if err != nil {
		return codec.Stored{}, err
	}
	stored, err := w.recipe.Finish()
	stored.UncompressedSize = w.size
	return stored, err
}

// Packs returns the packs that the volume lies in, when it was finished.
func (w *Writer) Packs() (all []events.Artifact) {
	for _, p := range w.packer.packs {
		all = append(all, p.artifact)
	}
	return all
}

// run cuts the stream, while another goroutine stores it.
func (w *Writer) run(chunker *chunkers.Chunker, from *io.PipeReader) {
	defer close(w.ended)
	stored := make(chan struct{})
	go func() {
		defer close(stored)
		w.fail(from, panics.Catch(w.packer.run))
		for p := range w.ordered { // so that who cuts does not wait
			p.release(w)
		}
	}()
	err := panics.Catch(func() error {
		defer close(w.ordered)
		return w.cut(chunker)
	})
	w.fail(from, err)
	<-stored
	w.packer.abort() // does nothing to what was committed
}

// fail has nothing more taken.
func (w *Writer) fail(from *io.PipeReader, err error) {
	if err != nil {
		w.failed.CompareAndSwap(nil, &err)
		_ = from.CloseWithError(err)
	}
}

// cut cuts the stream into pieces, and looks which of them are there.
func (w *Writer) cut(chunker *chunkers.Chunker) error {
	var fresh uint32
	came := map[key]uint32{} // new pieces
	for {
		plain, err := chunker.Next()
		if err != nil && err != io.EOF {
			return err
		}
		if len(plain) > 0 {
			p := &piece{record: record{plain: uint32(len(plain)), digest: sha256.Sum256(plain)}}
			id := key(p.record.digest[:])
			if ferr := w.lookUp(p, id); ferr != nil {
				return ferr
			}
			n, again := came[id]
			switch {
			case p.known != nil:
			case again:
				p.fresh = n
			default:
				p.fresh = fresh
				if len(came) < maxKnown {
					came[id] = fresh
				}
				fresh++
				w.compress(p, plain)
			}
			w.ordered <- p
		}
		if err == io.EOF {
			return nil
		}
		if failed := w.failed.Load(); failed != nil {
			return *failed
		}
	}
}

// waiting is for a defer of its result, around what waits for the sink.
func (w *Writer) waiting() (end func()) {
	if w.o.Waiting == nil {
		return func() {}
	}
	return w.o.Waiting()
}

// lookUp looks whether the sink has a piece.
func (w *Writer) lookUp(p *piece, id key) error {
	n, known := w.o.Known.at[id]
	if !known {
		return nil
	}
	defer w.waiting()()
	at, in, err := w.o.Known.find(w.ctx, w.o.Sink, n)
	p.known, p.record.offset, p.record.length = in, at.offset, at.length
	return err
}

// compress begins to compress a new piece. It waits while there are many.
func (w *Writer) compress(p *piece, plain []byte) {
	p.work, p.ready = <-w.work, make(chan struct{})
	p.work.plain = append(p.work.plain[:0], plain...)
	go func() {
		defer close(p.ready)
		p.work.stored = w.zstd.EncodeAll(p.work.plain, p.work.stored[:0])
	}()
}

// release has the buffers of a piece used by others.
func (p *piece) release(w *Writer) {
	if p.work != nil {
		<-p.ready
		w.work <- p.work
		p.work = nil
	}
}

// packer stores pieces in their order. One goroutine uses it.
type packer struct {
	w       *Writer
	open    sink.BlobWriter // the pack that is filled; nil for none
	to      *codec.Writer   // to that
	current *pack
	frames  int64     // bytes that it has
	plain   hash.Hash // of the plain bytes of that pack
	made    int
	fresh   []located // new pieces
	packs   []*pack   // of the recipe, as it numbers them
	numbers map[*pack]uint32
}

// located is where a new piece lies.
type located struct {
	in             *pack
	offset, length uint32
}

func (k *packer) run() error {
	if _, err := k.w.recipe.Write(header(k.w.how)); err != nil {
		return err
	}
	var b []byte
	for p := range k.w.ordered {
		in, err := k.place(p)
		p.release(k.w)
		if err != nil {
			return err
		}
		number, named := k.numbers[in]
		if !named {
			number = uint32(len(k.packs))
			if number == maxPacks {
				return fmt.Errorf("the volume needs more than %d packs: store it in a sink with format archive", maxPacks)
			}
			k.packs, k.numbers[in] = append(k.packs, in), number
		}
		p.record.pack = number
		b = appendRecord(b[:0], p.record)
		if _, err := k.w.recipe.Write(b); err != nil {
			return err
		}
	}
	if k.w.failed.Load() != nil { // what came is not all
		return nil
	}
	return k.endPack()
}

// place returns in which pack a piece lies, and stores it if it is new.
func (k *packer) place(p *piece) (*pack, error) {
	if p.known != nil {
		return p.known, nil
	}
	if p.work != nil {
		<-p.ready
		at, err := k.store(p.work)
		if err != nil {
			return nil, err
		}
		if len(k.fresh) < maxKnown { // others do not come again as such
			k.fresh = append(k.fresh, at)
		}
		p.record.offset, p.record.length = at.offset, at.length
		return at.in, nil
	}
	at := k.fresh[p.fresh]
	p.record.offset, p.record.length = at.offset, at.length
	return at.in, nil
}

// store puts a new piece into the pack that is filled.
func (k *packer) store(b *buffers) (at located, err error) {
	if k.open != nil && k.frames >= packTarget(k.made) {
		if err := k.endPack(); err != nil {
			return at, err
		}
	}
	if k.open == nil {
		if err := k.beginPack(); err != nil {
			return at, err
		}
	}
	if _, err := k.to.Write(b.stored); err != nil {
		return at, err
	}
	k.plain.Write(b.plain)
	at = located{k.current, uint32(k.frames), uint32(len(b.stored))}
	k.frames += int64(len(b.stored))
	k.current.artifact.UncompressedSize += int64(len(b.plain))
	k.w.stored.Add(int64(len(b.stored)))
	return at, nil
}

func (k *packer) beginPack() (err error) {
	defer k.w.waiting()()
	if k.open, err = k.w.o.Staging.CreateBlob(k.w.ctx, k.w.seal.Most(packTarget(k.made)+maxPiece+slack)); err != nil {
		k.open = nil
		return err
	}
	k.current, k.plain, k.frames = &pack{artifact: events.Artifact{MediaType: point.MediaTypePack}}, sha256.New(), 0
	to := codec.Destination{Writer: k.open}
	if k.w.o.Wrap != nil {
		to.Writer = k.w.o.Wrap(k.open)
	}
	if k.w.seal.Encrypts() {
		to.Encrypt, k.current.artifact.Encryption = k.w.seal.Encrypt, seal.Format
	}
	k.to, err = codec.NewPlainWriter(to)
	return err
}

// endPack keeps the pack that is filled, if there is one, and has it found.
func (k *packer) endPack() error {
	if k.open == nil {
		return nil
	}
	defer k.w.waiting()()
	stored, err := k.to.Finish()
	if err != nil {
		return err
	}
	k.current.plain = codec.Digest(k.plain)
	a := &k.current.artifact
	a.Key, a.Size, a.Digest = sink.BlobKey(stored.Digest), stored.Size, stored.Digest
	a.Name = k.w.seal.Names().Of(k.current.plain)
	if err := k.open.Commit(a.Digest); err != nil {
		return err
	}
	k.open = nil
	k.made++
	return blob.Enter(k.w.ctx, k.w.o.Sink, a)
}

// abort gives up the pack that is filled.
func (k *packer) abort() {
	if k.open != nil {
		_ = k.open.Abort() // what it leaves is the attempt's to discard
		k.open = nil
	}
}

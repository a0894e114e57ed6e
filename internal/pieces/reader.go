package pieces

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/sink"
)

const (
	// runRecords is how many pieces are read by one request at most.
	runRecords = 1024
	// runGap is how many bytes are read and left out rather than that another request is made.
	runGap = 64 << 10
)

// assembled is the plain bytes of a volume that lies in pieces. One goroutine uses it.
type assembled struct {
	ctx    context.Context //nolint:containedctx // of the one stream
	whole  *decoder        // of the recipe, which was read to its end
	packs  *packs
	recipe io.ReadCloser
	next   *decoder // of the recipe, which is read once more
	zstd   *zstd.Decoder
	sum    hash.Hash

	ahead  *record // that was read, and does not belong to the run
	ended  bool    // the recipe has
	run    []record
	pack   io.ReadCloser // of the run
	at     int64         // in the pack
	stored []byte
	piece  []byte // plain
	rest   []byte // of the piece, to be read
	err    error
}

// assemble reads the recipe to its end, so that it is proven before a byte of the volume is
// handed on, and then once more: it may name more pieces than there is memory for.
func (s Source) assemble(ctx context.Context, a *events.Artifact) (io.ReadCloser, error) {
	whole, err := s.walk(ctx, a)
	if err != nil {
		return nil, err
	}
	packs, err := s.openPacks(ctx, a, whole)
	if err != nil {
		return nil, err
	}
	recipe, err := s.recipe(ctx, a)
	if err != nil {
		return nil, err
	}
	d, err := newDecoder(recipe)
	if err != nil {
		return nil, errors.Join(err, recipe.Close())
	}
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxPiece), zstd.WithDecoderMaxWindow(maxPiece))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up zstd: %w", err), recipe.Close())
	}
	return &assembled{ctx: ctx, whole: whole, packs: packs, recipe: recipe, next: d, zstd: z, sum: sha256.New()}, nil
}

// Read implements [io.Reader].
func (r *assembled) Read(p []byte) (int, error) {
	for len(r.rest) == 0 && r.err == nil {
		r.err = r.advance()
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Close implements [io.Closer].
func (r *assembled) Close() error {
	r.zstd.Close()
	return errors.Join(r.endRun(), r.recipe.Close())
}

// advance reads the next piece, and proves it.
func (r *assembled) advance() error {
	if len(r.run) == 0 {
		if err := r.beginRun(); err != nil {
			return err
		}
	}
	one := r.run[0]
	r.run = r.run[1:]
	if err := r.fetch(one); err != nil {
		return fmt.Errorf("%s: %w", r.packs.all[one.pack].Key, err)
	}
	r.rest = r.piece
	r.sum.Write(r.piece)
	return nil
}

// fetch reads a piece from the pack.
func (r *assembled) fetch(one record) error {
	if r.pack == nil { // where it begins is known by now
		last := one
		if len(r.run) > 0 {
			last = r.run[len(r.run)-1]
		}
		r.at = int64(one.offset)
		f, err := r.packs.open(r.ctx, one.pack, r.at, int64(last.offset)+int64(last.length)-r.at)
		if err != nil {
			return missing(err)
		}
		r.pack = f
	}
	gap := int64(one.offset) - r.at
	if _, err := io.CopyN(io.Discard, r.pack, gap); err != nil {
		return missing(err)
	}
	if uint32(cap(r.stored)) < one.length {
		r.stored = make([]byte, one.length)
	}
	r.stored = r.stored[:one.length]
	if _, err := io.ReadFull(r.pack, r.stored); err != nil {
		return missing(err)
	}
	r.at += gap + int64(one.length)
	return r.prove(one)
}

// prove unpacks a piece that was read.
func (r *assembled) prove(one record) (err error) {
	if r.piece, err = r.zstd.DecodeAll(r.stored, r.piece[:0]); err != nil {
		return fmt.Errorf("%w: the piece at byte %d: %w", codec.ErrDamaged, one.offset, err)
	}
	if sum := sha256.Sum256(r.piece); uint64(len(r.piece)) != uint64(one.plain) || sum != one.digest {
		return fmt.Errorf("%w: the piece at byte %d is another one", codec.ErrDamaged, one.offset)
	}
	return nil
}

// missing says of the error of a pack that is not there, or too short, that it is damaged.
func missing(err error) error {
	switch {
	case errors.Is(err, sink.ErrNotFound):
		return fmt.Errorf("%w: it is not there", codec.ErrDamaged)
	case errors.Is(err, sink.ErrRange), err == io.ErrUnexpectedEOF, err == io.EOF: // else a connection was cut
		return fmt.Errorf("%w: it was cut short", codec.ErrDamaged)
	}
	return err
}

// beginRun takes the pieces that follow each other in one pack. It returns io.EOF when there
// are no more, and all of the volume was read.
func (r *assembled) beginRun() error {
	if err := r.endRun(); err != nil {
		return err
	}
	r.run = r.run[:0]
	end := int64(-1)
	for len(r.run) < runRecords {
		one, err := r.record()
		if err != nil {
			return r.atEnd(err)
		}
		gap := int64(one.offset) - end
		if len(r.run) > 0 && (one.pack != r.run[0].pack || gap < 0 || gap > runGap) {
			r.ahead = &one
			return nil
		}
		r.run, end = append(r.run, one), int64(one.offset)+int64(one.length)
	}
	return nil
}

// atEnd ends the last run, where the recipe has ended.
func (r *assembled) atEnd(err error) error {
	switch {
	case err != io.EOF:
		return err
	case len(r.run) > 0:
		return nil
	case !bytes.Equal(r.sum.Sum(nil), r.whole.digest[:]):
		return wrong("its pieces make another volume")
	}
	return io.EOF
}

// record returns the next record of the recipe.
func (r *assembled) record() (record, error) {
	if r.ahead != nil {
		one := *r.ahead
		r.ahead = nil
		return one, nil
	}
	if r.ended {
		return record{}, io.EOF
	}
	one, err := r.next.next()
	r.ended = err == io.EOF
	if err == nil && int(one.pack) >= len(r.packs.all) {
		err = wrong("it has changed while it was read")
	}
	return one, err
}

func (r *assembled) endRun() (err error) {
	if r.pack != nil {
		err, r.pack = r.pack.Close(), nil
	}
	return err
}

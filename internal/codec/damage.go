package codec

import (
	"bytes"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxFrame bounds the stored bytes of one frame: a frame of a Writer has less, as what
// cannot be compressed is stored as it is.
const maxFrame = frameSize + 64<<10

// Damage says which of a stream's stored bytes cannot be decoded. Each frame of a
// stream is decoded by itself, so what is before and after them is as good as ever.
type Damage struct {
	// Begin and End are the first range of such bytes, from Begin up to but not
	// including End.
	Begin, End int64
	// Bad is how many such bytes there are, and Size how many there are in all.
	Bad, Size int64
	// Frames is how many frames are whole.
	Frames int
}

// FindDamage reads what a Writer of [NewWriter] stored, to its end, and reports what of
// it cannot be decoded. A stream whose frames are all whole has no damage, though its
// digest may be another than expected. It holds a few megabytes, however long the
// stream is. The error is that of r.
func FindDamage(r io.Reader) (Damage, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxWindow), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return Damage{}, fmt.Errorf("set up zstd: %w", err)
	}
	defer d.Close()
	s := &scanner{r: r, zstd: d, window: make([]byte, 0, 2*maxFrame)}
	for {
		if err := s.fill(); err != nil {
			return s.damage, err
		}
		if len(s.window) == 0 {
			return s.damage, nil
		}
		if n := s.frame(s.window); n > 0 {
			s.damage.Frames++
			s.skip(n)
			continue
		}
		n := s.nextFrame()
		s.markBad(int64(n))
		s.skip(n)
	}
}

// scanner walks over the frames of a stream.
type scanner struct {
	r      io.Reader
	zstd   *zstd.Decoder
	window []byte // what was read and is not skipped
	plain  []byte // of the last frame; its room is used again
	ended  bool   // r has
	damage Damage // so far; Size is how much is skipped
}

// fill reads until the window is full or r has ended.
func (s *scanner) fill() error {
	if s.ended {
		return nil
	}
	n, err := io.ReadFull(s.r, s.window[len(s.window):cap(s.window)])
	s.window = s.window[:len(s.window)+n]
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		s.ended, err = true, nil
	}
	return err
}

// skip leaves the next n bytes of the window behind.
func (s *scanner) skip(n int) {
	s.damage.Size += int64(n)
	s.window = s.window[:copy(s.window, s.window[n:])]
}

// markBad says that the next n bytes cannot be decoded.
func (s *scanner) markBad(n int64) {
	d := &s.damage
	switch at := d.Size; {
	case d.Bad == 0:
		d.Begin, d.End = at, at+n
	case d.End == at && d.End-d.Begin == d.Bad: // the first range goes on
		d.End += n
	}
	d.Bad += n
}

// nextFrame returns after how many bytes of the window the next whole frame begins. If
// there is none in reach, it returns how many certainly belong to none.
func (s *scanner) nextFrame() int {
	reach := min(maxFrame, len(s.window))
	for n := 1; n < reach; n++ {
		next := bytes.Index(s.window[n:], frameBegin)
		if next < 0 || n+next >= reach {
			break
		}
		if n += next; s.frame(s.window[n:]) > 0 {
			return n
		}
	}
	return reach
}

// frame returns the length of the frame that b begins with, and 0 if that is none, or
// not whole.
func (s *scanner) frame(b []byte) int {
	n := frameLength(b)
	if n == 0 {
		return 0
	}
	var err error
	if s.plain, err = s.zstd.DecodeAll(b[:n], s.plain[:0]); err != nil {
		return 0
	}
	return n
}

// Kinds of blocks in a frame (RFC 8878, 3.1.1.2).
const (
	blockHeader   = 3
	blockRLE      = 1
	blockReserved = 3
	frameChecksum = 4
)

// frameLength returns the length of the frame that b begins with, as its headers have
// it, and 0 if b does not begin with a frame or has not all of it.
func frameLength(b []byte) int {
	var h zstd.Header
	if err := h.Decode(b); err != nil || h.Skippable {
		return 0
	}
	n := h.HeaderSize
	for last := false; !last; {
		if len(b) < n+blockHeader {
			return 0
		}
		head := int(b[n]) | int(b[n+1])<<8 | int(b[n+2])<<16
		n += blockHeader
		last = head&1 != 0
		switch head >> 1 & 3 {
		case blockRLE:
			n++
		case blockReserved:
			return 0
		default:
			n += head >> 3
		}
	}
	if h.HasCheckSum {
		n += frameChecksum
	}
	if n > len(b) || n > maxFrame {
		return 0
	}
	return n
}

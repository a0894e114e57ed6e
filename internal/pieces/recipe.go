package pieces

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"holdfast.io/holdfast/internal/codec"
)

// The parts of a recipe. All numbers in it are big-endian.
const (
	magic         = "HFPIECES"
	recipeVersion = 2
	fastCDC       = 1 // the algorithm fastcdc-v1.0.0, without a key
	keyedFastCDC  = 2 // and with one
	headerSize    = 32
	recordSize    = 48
	packSize      = 72
	endMark       = 0xffffffff // in place of the number of a pack
)

// Bounds of what a recipe may say.
const (
	maxPiece = 8 << 20 // bytes of a piece
	maxPacks = 1 << 20 // of one recipe
	slack    = 1 << 10 // bytes that a piece may have more when it is stored
)

// sizes say how a stream is cut, in bytes.
type sizes struct{ least, normal, most uint32 }

// sizesOf are those of this normal size, which is a power of two.
func sizesOf(normal uint32) sizes { return sizes{normal / 4, normal, 4 * normal} }

// record is one piece of a stream.
type record struct {
	pack           uint32 // by its place in the list of packs
	offset, length uint32 // of its stored bytes in the pack
	plain          uint32 // bytes
	digest         [32]byte
}

// packRef is a pack in a recipe: its blob, and the digest of its plain bytes.
type packRef struct {
	digest string
	size   int64
	plain  string
}

// cut says how a stream is cut.
type cut struct {
	sizes
	algorithm uint32
}

// header is the beginning of a recipe.
func header(c cut) []byte {
	b := []byte(magic)
	for _, n := range []uint32{recipeVersion, c.algorithm, c.least, c.normal, c.most, 0} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

func appendRecord(b []byte, r record) []byte {
	for _, n := range []uint32{r.pack, r.offset, r.length, r.plain} {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return append(b, r.digest[:]...)
}

// appendEnd appends what follows the records of a stream of this size and digest.
func appendEnd(b []byte, size int64, digest []byte, packs []packRef) ([]byte, error) {
	b = binary.BigEndian.AppendUint32(b, endMark)
	b = binary.BigEndian.AppendUint32(b, uint32(len(packs)))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	b = append(b, digest...)
	for _, p := range packs {
		sum, err := hex.DecodeString(strings.TrimPrefix(p.digest, "sha256:"))
		plain, perr := hex.DecodeString(strings.TrimPrefix(p.plain, "sha256:"))
		if err := errors.Join(err, perr); err != nil {
			return nil, err
		}
		b = binary.BigEndian.AppendUint64(append(b, sum...), uint64(p.size))
		b = append(b, plain...)
	}
	return b, nil
}

// decoder reads a recipe. What it holds grows by the packs that it names, and not by its
// length.
type decoder struct {
	r    *bufio.Reader
	cut  cut
	ends []int64 // where what is read of each pack ends

	// What follows is known at the end.
	size   int64
	digest [32]byte // of the stream
	packs  []packRef
}

func wrong(format string, args ...any) error {
	return fmt.Errorf("%w: the recipe of the volume: %s", codec.ErrDamaged, fmt.Sprintf(format, args...))
}

// newDecoder reads the beginning of a recipe.
func newDecoder(r io.Reader) (*decoder, error) {
	d := &decoder{r: bufio.NewReaderSize(r, 64<<10)}
	var b [headerSize]byte
	if err := d.read(b[:]); err != nil {
		return nil, err
	}
	number := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	if string(b[:8]) != magic || number(8) != recipeVersion {
		return nil, wrong("it is none, or of another version")
	}
	d.cut = cut{sizes{number(16), number(20), number(24)}, number(12)}
	isKnown := d.cut.algorithm == fastCDC || d.cut.algorithm == keyedFastCDC
	if !isKnown || d.cut.most == 0 || d.cut.most > maxPiece || d.cut.sizes != sizesOf(d.cut.normal) {
		return nil, wrong("it is cut in a way that this version does not know")
	}
	return d, nil
}

// read fills b.
func (d *decoder) read(b []byte) error {
	_, err := io.ReadFull(d.r, b)
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return wrong("it is cut short")
	}
	return err
}

// next returns the next piece; io.EOF says that the recipe is whole, and has no more.
func (d *decoder) next() (r record, err error) {
	var b [recordSize]byte
	if err := d.read(b[:]); err != nil {
		return r, err
	}
	number := func(at int) uint32 { return binary.BigEndian.Uint32(b[at:]) }
	if number(0) == endMark {
		copy(d.digest[:], b[16:])
		return r, d.end(int(number(4)), binary.BigEndian.Uint64(b[8:]))
	}
	r = record{pack: number(0), offset: number(4), length: number(8), plain: number(12), digest: [32]byte(b[16:])}
	switch {
	case r.pack >= maxPacks, int(r.pack) > len(d.ends):
		return r, wrong("pack %d comes after pack %d", r.pack, len(d.ends)-1)
	case r.plain == 0, r.plain > d.cut.most, r.length == 0, r.length > r.plain+slack:
		return r, wrong("a piece has %d bytes, and %d stored", r.plain, r.length)
	case int(r.pack) == len(d.ends):
		d.ends = append(d.ends, 0)
	}
	d.ends[r.pack] = max(d.ends[r.pack], int64(r.offset)+int64(r.length))
	d.size += int64(r.plain)
	return r, nil
}

// end reads what follows the records.
func (d *decoder) end(packs int, size uint64) error {
	if packs != len(d.ends) || size != uint64(d.size) {
		return wrong("it is of %d bytes in %d packs, and its pieces have %d in %d", size, packs, d.size, len(d.ends))
	}
	for _, end := range d.ends {
		var b [packSize]byte
		if err := d.read(b[:]); err != nil {
			return err
		}
		p := packRef{"sha256:" + hex.EncodeToString(b[:32]), int64(binary.BigEndian.Uint64(b[32:])), "sha256:" + hex.EncodeToString(b[40:])}
		if p.size < end {
			return wrong("a piece ends at %d in the pack %s, which has %d bytes", end, p.digest, p.size)
		}
		d.packs = append(d.packs, p)
	}
	_, err := d.r.ReadByte()
	if err == nil {
		return wrong("it goes on after its end")
	}
	return err
}

package codec_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"holdfast.io/holdfast/internal/codec"
)

// stream is a stored stream of several frames, half of which can be compressed.
func stream(t testing.TB, plain int) []byte {
	t.Helper()
	b := random(plain)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b[plain/4 : plain/2]) // not the same everywhere
	var lies bytes.Buffer
	out := newWriter(t, &lies, 0)
	_, err := out.Write(b)
	if err == nil {
		_, err = out.Finish()
	}
	if err != nil {
		t.Fatal(err)
	}
	return lies.Bytes()
}

func find(t testing.TB, r io.Reader) codec.Damage {
	t.Helper()
	d, err := codec.FindDamage(r)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestFindDamageOfWhatIsWhole(t *testing.T) {
	for _, plain := range []int{0, 1, 1 << 20, 1<<20 + 1, 5<<20 + 17} {
		lies := stream(t, plain)
		d := find(t, iotest.HalfReader(bytes.NewReader(lies)))
		if want := (codec.Damage{Size: int64(len(lies)), Frames: (plain + 1<<20 - 1) >> 20}); d != want {
			t.Errorf("%d bytes: %+v, want %+v", plain, d, want)
		}
	}
}

// Wherever a bit is flipped, the range that is found has it, and is no more than its
// frame, unless what is hit is the length of one.
func TestFindDamageOfOneBit(t *testing.T) {
	lies := stream(t, 3<<20)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 25 {
		bit := rnd.IntN(8 * len(lies))
		damaged := bytes.Clone(lies)
		damaged[bit/8] ^= 1 << (bit % 8)
		d := find(t, bytes.NewReader(damaged))
		hit := int64(bit / 8)
		switch {
		case d.Bad == 0 || hit < d.Begin || hit >= d.End:
			t.Errorf("byte %d: found is %+v", hit, d)
		case d.Frames != 2, d.Bad != d.End-d.Begin, d.Size != int64(len(lies)):
			t.Errorf("byte %d: found is %+v, want one frame of 3", hit, d)
		}
	}
}

func TestFindDamage(t *testing.T) {
	lies := stream(t, 4<<20)
	size := int64(len(lies))
	zeros := make([]byte, 3<<20)
	for name, c := range map[string]struct {
		stored []byte
		want   func(d codec.Damage) bool
	}{
		"cut short in a frame": {lies[:size-10], func(d codec.Damage) bool {
			return d.Frames == 3 && d.End == size-10 && d.Size == size-10
		}},
		"something behind it":    {append(bytes.Clone(lies), "behind"...), func(d codec.Damage) bool { return d.Begin == size && d.Bad == 6 }},
		"something before it":    {append([]byte("before"), lies...), func(d codec.Damage) bool { return d.Begin == 0 && d.End == 6 && d.Frames == 4 }},
		"another kind of file":   {zeros, func(d codec.Damage) bool { return d.Bad == int64(len(zeros)) && d.Frames == 0 }},
		"only beginnings":        {bytes.Repeat([]byte{0x28, 0xb5, 0x2f, 0xfd}, 1000), func(d codec.Damage) bool { return d.Bad == 4000 }},
		"two frames are damaged": {flipped(lies, 100, size-100), func(d codec.Damage) bool { return d.Frames == 2 && d.Begin == 0 && d.Bad > d.End }},
	} {
		if d := find(t, bytes.NewReader(c.stored)); !c.want(d) {
			t.Errorf("%s: %+v of %d", name, d, size)
		}
	}
}

// flipped returns a copy with a bit flipped in each of some bytes.
func flipped(b []byte, at ...int64) []byte {
	b = bytes.Clone(b)
	for _, i := range at {
		b[i] ^= 0x10
	}
	return b
}

func TestFindDamagePassesOnErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, err := range []error{broken, errors.Join(io.ErrUnexpectedEOF, broken)} {
		r := io.MultiReader(bytes.NewReader(stream(t, 2<<20)), iotest.ErrReader(err))
		if _, got := codec.FindDamage(r); !errors.Is(got, broken) {
			t.Errorf("%v was reported as %v", err, got)
		}
	}
}

func FuzzFindDamage(f *testing.F) {
	lies := stream(f, 3<<20)
	f.Add(lies[len(lies)-2000:])
	f.Add(stream(f, 100))
	f.Fuzz(func(t *testing.T, stored []byte) {
		if d := find(t, bytes.NewReader(stored)); d.Size != int64(len(stored)) || d.Bad > d.Size || d.End > d.Size || d.Begin > d.End {
			t.Errorf("%d bytes: %+v", len(stored), d)
		}
	})
}

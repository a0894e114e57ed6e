package codec

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestCompressorRoundTrip(t *testing.T) {
	for _, size := range []int{1, frameSize - 1, frameSize, frameSize + 1, 9*frameSize + 17} {
		plain := make([]byte, size)
		random := rand.NewChaCha8([32]byte{})
		_, _ = random.Read(plain[:size/2])
		var stored bytes.Buffer
		c, err := newCompressor(&stored, Compression{})
		if err != nil {
			t.Fatal(err)
		}
		for rest := plain; len(rest) > 0; { // in pieces that fit no frame
			n := min(len(rest), 300_007)
			if _, err := c.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		c.breakOff() // does nothing
		d, err := zstd.NewReader(&stored)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(d)
		d.Close()
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes came back as %d others, %v", size, len(got), err)
		}
	}
}

// failing is a writer that is full after some bytes.
type failing struct{ room int }

var errFull = errors.New("full")

func (f *failing) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestCompressorReportsThatItsWriterFails(t *testing.T) {
	plain := make([]byte, frameSize)
	_, _ = rand.NewChaCha8([32]byte{}).Read(plain)
	c, err := newCompressor(&failing{room: 2 * frameSize}, Compression{})
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if _, err = c.Write(plain); err != nil {
			break
		}
	}
	if !errors.Is(err, errFull) {
		t.Errorf("Write reports %v", err)
	}
	if err := c.Close(); !errors.Is(err, errFull) {
		t.Errorf("Close reports %v", err)
	}
}

func TestCompressorThatIsBrokenOffDoesNotLookWhole(t *testing.T) {
	var stored bytes.Buffer
	c, err := newCompressor(&stored, Compression{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 3*frameSize+5)); err != nil {
		t.Fatal(err)
	}
	c.breakOff()
	d, err := zstd.NewReader(&stored)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if n, err := io.Copy(io.Discard, d); n != 3*frameSize || err == nil {
		t.Errorf("%d bytes came back, %v; it looks whole", n, err)
	}
}

// Streams that are compressed at the same time share the threads, and each has one.
func TestStreamsShareThreads(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	for streams, want := range map[int]int{0: maxThreads, 1: maxThreads, 2: maxThreads / 2, 3: 1, 100: 1} {
		enc, threads, err := Compression{Streams: streams}.NewEncoder(frameSize)
		if err != nil || threads != want {
			t.Errorf("each of %d streams has %d threads, want %d: %v", streams, threads, want, err)
		}
		_ = enc.Close()
	}
}

package seal_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/seal"
)

// BenchmarkCost stores the same stream in clear and encrypted, in turn, and reports how many
// times as long the second one takes. Half of the stream can be compressed.
func BenchmarkCost(b *testing.B) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		b.Fatal(err)
	}
	sealed, err := seal.New(seal.Options{Recipients: []string{identity.Recipient().String()}})
	if err != nil {
		b.Fatal(err)
	}
	const size = 256 << 20
	block := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{1})
	if _, err := io.ReadFull(random, block[:len(block)/2]); err != nil {
		b.Fatal(err)
	}
	copy(block[len(block)/2:], bytes.Repeat([]byte("a line of a log, with a time, a level and a message\n"), len(block)))
	store := func(to codec.Destination) time.Duration {
		began := time.Now()
		out, err := codec.NewWriter(to, codec.Compression{})
		if err != nil {
			b.Fatal(err)
		}
		for range size / len(block) {
			if _, err := out.Write(block); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := out.Finish(); err != nil {
			b.Fatal(err)
		}
		return time.Since(began)
	}
	var clear, encrypted time.Duration
	for b.Loop() {
		clear += store(codec.Destination{Writer: io.Discard})
		encrypted += store(codec.Destination{Writer: io.Discard, Encrypt: sealed.Encrypt})
	}
	b.ReportMetric(float64(encrypted)/float64(clear), "ratio")
	b.ReportMetric(size*float64(b.N)/1e6/clear.Seconds(), "clear-MB/s")
	b.ReportMetric(size*float64(b.N)/1e6/encrypted.Seconds(), "encrypted-MB/s")
}

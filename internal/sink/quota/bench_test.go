package quota_test

import (
	"os"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/quota"
	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// points are how many points lie in the sinks that are counted.
const points = 10_000

// fill makes points with four objects each below a folder, as they lie in a sink.
func fill(b *testing.B, dir, attempt string) {
	b.Helper()
	for n := range points {
		at := filepath.Join(dir, dirOf(string([]rune{'a' + rune(n%26)}))+"-"+string(rune('a'+n/26%26))+string(rune('a'+n/676)))
		if err := os.MkdirAll(filepath.Join(at, attempt), 0o700); err != nil {
			b.Fatal(err)
		}
		for _, name := range []string{sink.ManifestName, attempt + "/image.tar.zst", attempt + "/container.json", attempt + "/context.json"} {
			if err := os.WriteFile(filepath.Join(at, name), make([]byte, 100), 0o600); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func benchmark(b *testing.B, s sink.Sink) {
	b.Helper()
	for b.Loop() {
		used, _, err := quota.New(s, 1<<40, "bench").Ration(b.Context())
		if err != nil || used < points*400 {
			b.Fatalf("%d bytes are used, %v", used, err)
		}
	}
}

// BenchmarkCount counts what lies in a sink with 10,000 points.
func BenchmarkCount(b *testing.B) {
	b.Run("file", func(b *testing.B) {
		dir := b.TempDir()
		s, err := file.Open(b.Context(), dir, "", file.Options{})
		if err != nil {
			b.Fatal(err)
		}
		fill(b, dir, "")
		benchmark(b, s)
	})
	b.Run("s3", func(b *testing.B) {
		server := s3test.Start(b)
		store, err := s3.New(s3.Options{Bucket: s3test.Bucket, Endpoint: server.URL, Credentials: server.Credentials})
		if err != nil {
			b.Fatal(err)
		}
		s, err := object.Open(b.Context(), store, "", "")
		if err != nil {
			b.Fatal(err)
		}
		fill(b, filepath.Join(server.Dir, s3test.Bucket), "1")
		benchmark(b, s)
	})
}

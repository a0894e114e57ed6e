package s3_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// counted returns a sink at a server that counts the requests it gets from now on.
func counted(t testing.TB) (s *object.Sink, requests *atomic.Int64) {
	t.Helper()
	server, requests := s3test.Start(t), &atomic.Int64{}
	service := server.Skewed(0)
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		service.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	store, err := s3.New(s3.Options{Bucket: s3test.Bucket, Endpoint: front.URL, Credentials: server.Credentials})
	must(t, err)
	s, err = object.Open(t.Context(), store, "", "")
	must(t, err)
	requests.Store(0)
	return s, requests
}

// storePoint stores a point as a backup does: write writes its artifacts, which are expected to
// have most bytes at most.
func storePoint(
	ctx context.Context, t testing.TB, s *object.Sink, id string, most int64, names []string, write func(name string, w io.Writer) error,
) (sizes []int64) {
	t.Helper()
	dir := "points/h/container/n/" + id
	if _, err := s.Open(ctx, path.Join(dir, sink.ManifestName)); !errors.Is(err, sink.ErrNotFound) {
		t.Fatalf("the point is there: %v", err)
	}
	staging, err := s.Stage(ctx, dir, "1")
	must(t, err)
	var keys []string
	for _, name := range names {
		w, key, err := staging.Create(ctx, name, most)
		must(t, err)
		n := &counter{w: w}
		must(t, write(name, n))
		must(t, w.Commit())
		keys, sizes = append(keys, key), append(sizes, n.n)
	}
	must(t, staging.Publish(ctx, []byte(strings.Join(keys, " "))))
	must(t, staging.Discard(ctx))
	return sizes
}

type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// What the sink says of the requests that a point takes is what the service sees.
func TestRequests(t *testing.T) {
	s, requests := counted(t)
	for id, sizes := range map[string][]int64{"one": {100}, "small": {0, 100}, "large": {5<<20 - 1, 5 << 20, 5<<20 + 1, 17 << 20}} {
		names := []string{"a", "b", "c", "d"}[:len(sizes)]
		requests.Store(0)
		got := storePoint(t.Context(), t, s, id, 1<<30, names, func(name string, w io.Writer) error {
			_, err := io.CopyN(w, pattern{}, sizes[name[0]-'a'])
			return err
		})
		if n := requests.Load(); n != s.Requests(got) {
			t.Errorf("%s: the service got %d requests, and the sink says %d", id, n, s.Requests(got))
		}
	}
}

// A clock of the service that is an hour ahead or behind is told, and no more.
func TestSkewedClock(t *testing.T) {
	server := s3test.Start(t)
	for ahead, says := range map[time.Duration]string{
		time.Hour: "its clock is about 1h0m0s ahead of", -time.Hour: "its clock is about 1h0m0s behind", 30 * time.Second: "",
	} {
		front := httptest.NewServer(server.Skewed(ahead))
		store, err := s3.New(s3.Options{Bucket: s3test.Bucket, Endpoint: front.URL, Credentials: server.Credentials})
		must(t, err)
		s, err := object.Open(t.Context(), store, "", "")
		must(t, err)
		probed, err := s.Probe(t.Context())
		must(t, err)
		if got := strings.Join(probed.Warnings, "; "); !strings.Contains(got, says) || (got == "") != (says == "") {
			t.Errorf("%s ahead: it warns %q, want %q", ahead, got, says)
		}
		front.Close()
	}
}

// BenchmarkPoint stores an image of 1 GiB, half of it random and half of it zeros, with its
// documents, and says what lies in the bucket then and what it took.
func BenchmarkPoint(b *testing.B) {
	identity, err := age.GenerateX25519Identity()
	must(b, err)
	for name, recipients := range map[string][]string{"clear": nil, "encrypted": {identity.Recipient().String()}} {
		b.Run(name, func(b *testing.B) {
			s, requests := counted(b)
			sealed, err := seal.New(seal.Options{Recipients: recipients})
			must(b, err)
			b.SetBytes(1 << 30)
			for n := 0; b.Loop(); n++ {
				requests.Store(0)
				sizes := storePoint(b.Context(), b, s, fmt.Sprint(n), 2<<30+64<<20, []string{"image.tar.zst", "container.json", "context.json", "manifest.json.sig"},
					func(name string, w io.Writer) error { return encode(name, w, sealed) })
				var bytes int64
				for _, n := range sizes {
					bytes += n
				}
				b.ReportMetric(float64(len(sizes)+1), "objects")
				b.ReportMetric(float64(bytes), "stored-B")
				b.ReportMetric(float64(requests.Load()), "requests")
				b.ReportMetric(float64(s.Requests(sizes)), "estimated")
			}
		})
	}
}

// encode writes an artifact in the form in which it is stored.
func encode(name string, w io.Writer, sealed *seal.Seal) error {
	to := codec.Destination{Writer: w}
	if sealed != nil {
		to.Encrypt = sealed.Encrypt
	}
	if !strings.HasSuffix(name, ".zst") {
		out, err := codec.NewPlainWriter(to)
		if err != nil {
			return err
		}
		if _, err = io.CopyN(out, pattern{}, 8<<10); err == nil {
			_, err = out.Finish()
		}
		return err
	}
	out, err := codec.NewWriter(to, codec.Compression{Level: 3})
	if err != nil {
		return err
	}
	if _, err = io.CopyN(out, rand.NewChaCha8([32]byte{}), 512<<20); err == nil {
		_, err = io.CopyN(out, zeros{}, 512<<20)
	}
	if err == nil {
		_, err = out.Finish()
	}
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

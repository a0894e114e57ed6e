package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/s3"
	"holdfast.io/holdfast/internal/sink/s3/s3test"
)

// quirk answers a request in place of the service, as services are known to, and reports
// whether it did. It may change the request.
type quirk func(w http.ResponseWriter, r *http.Request, service http.Handler) bool

// behind runs a server, and returns how it is reached through a quirk.
func behind(t *testing.T, q quirk) (s3.Options, *s3test.Server) {
	t.Helper()
	server := s3test.Start(t)
	target, err := url.Parse(server.URL)
	must(t, err)
	service := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // which is signed
	}, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !q(w, r, service) {
			service.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(front.Close)
	return s3.Options{Bucket: s3test.Bucket, Endpoint: front.URL, Credentials: server.Credentials}, server
}

// refuse answers as S3 does.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\"?><Error><Code>%s</Code><Message>by the test</Message></Error>", code)
}

func isPart(r *http.Request) bool {
	return r.Method == http.MethodPut && r.URL.Query().Has("partNumber")
}

func isComplete(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Query().Has("uploadId")
}

// upload stores an object of so many bytes, of which at most most were expected.
func upload(ctx context.Context, s object.Store, key string, size, most int64) error {
	u, err := s.Begin(ctx, key, most)
	if err != nil {
		return err
	}
	if _, err = io.Copy(u, io.LimitReader(pattern{}, size)); err == nil {
		err = u.Commit()
	}
	if err != nil {
		return errors.Join(err, u.Abort(ctx))
	}
	return nil
}

// pattern is a stream that shows when bytes are missing or doubled.
type pattern struct{}

func (pattern) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i * 7)
	}
	return len(p), nil
}

func sizeOf(t *testing.T, s object.Store, key string) int64 {
	t.Helper()
	info, err := s.Stat(t.Context(), key)
	must(t, err)
	return info.Size
}

// unevenParts refuses an object whose parts, but for the last one, are not of one size, as
// Cloudflare R2 does.
func unevenParts() quirk {
	var mu sync.Mutex
	sizes := map[string]map[string]int64{} // of parts by their numbers, by upload
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		mu.Lock()
		defer mu.Unlock()
		id := r.URL.Query().Get("uploadId")
		switch {
		case isPart(r):
			if sizes[id] == nil {
				sizes[id] = map[string]int64{}
			}
			sizes[id][r.URL.Query().Get("partNumber")] = r.ContentLength
		case isComplete(r):
			for number, size := range sizes[id] {
				if first := sizes[id]["1"]; size != first && (size > first || number != fmt.Sprint(len(sizes[id]))) {
					refuse(w, http.StatusBadRequest, "InvalidPart")
					return true
				}
			}
		}
		return false
	}
}

func TestPartsAreEven(t *testing.T) {
	o, _ := behind(t, unevenParts())
	s := open(t, o)
	for _, size := range []int64{8<<20 + 1, 24 << 20, 40<<20 + 17} {
		must(t, upload(t.Context(), s, "even", size, 0))
		if got := sizeOf(t, s, "even"); got != size {
			t.Errorf("%d bytes are stored as %d", size, got)
		}
	}
	// The service is one that would have noticed.
	c := client(t, o)
	id, err := c.NewMultipartUpload(t.Context(), o.Bucket, "uneven", minio.PutObjectOptions{})
	must(t, err)
	var parts []minio.CompletePart
	for i, size := range []int{5 << 20, 6 << 20, 1} {
		part, err := c.PutObjectPart(t.Context(), o.Bucket, "uneven", id, i+1, bytes.NewReader(make([]byte, size)), int64(size), minio.PutObjectPartOptions{})
		must(t, err)
		parts = append(parts, minio.CompletePart{PartNumber: i + 1, ETag: part.ETag})
	}
	if _, err := c.CompleteMultipartUpload(t.Context(), o.Bucket, "uneven", id, parts, minio.PutObjectOptions{}); err == nil {
		t.Error("uneven parts are not refused")
	}
}

func TestPartSize(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		o          s3.Options
		most, want int64
	}{
		{s3.Options{}, 1, 5 * mib},
		{s3.Options{}, 50_000 * mib, 5 * mib},
		{s3.Options{}, 50_000*mib + 1, 6 * mib},
		{s3.Options{}, 5 << 40, 525 * mib},
		{s3.Options{}, 0, 16 * mib},
		{s3.Options{MaxArtifact: 1 << 40}, 0, 105 * mib},
		{s3.Options{MaxArtifact: 1 << 40}, 1 << 30, 5 * mib},
		{s3.Options{MaxParts: 1000}, 10 << 30, 11 * mib},
	} {
		if got := c.o.PartSize(c.most); got != c.want {
			t.Errorf("%+v: for %d bytes parts have %d, want %d", c.o, c.most, got, c.want)
		}
	}
}

// A service that takes fewer parts: what was expected fits, and what goes beyond is an error
// that says what to do.
func TestFewParts(t *testing.T) {
	const most = 3
	o, _ := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if isPart(r) && len(r.URL.Query().Get("partNumber")) > 0 && r.URL.Query().Get("partNumber") > fmt.Sprint(most) {
			refuse(w, http.StatusBadRequest, "InvalidArgument")
			return true
		}
		return false
	})
	if err := upload(t.Context(), open(t, o), "x", 33<<20, 24<<20); err == nil {
		t.Error("the service takes four parts")
	}
	o.MaxParts = most
	must(t, upload(t.Context(), open(t, o), "x", 33<<20, 33<<20))
	err := upload(t.Context(), open(t, o), "x", 33<<20, 24<<20)
	if !errors.Is(err, sink.ErrTooLarge) || !strings.Contains(err.Error(), "maxArtifact") {
		t.Errorf("an artifact that grows beyond what was expected: %v", err)
	}
}

// Services say in many ways that an object is there, or that they know no conditions.
func TestConditions(t *testing.T) {
	for name, c := range map[string]struct {
		quirk   quirk
		caveat  string
		created bool // whether PutNew of what is not there succeeds
	}{
		"as it should be": {func(http.ResponseWriter, *http.Request, http.Handler) bool { return false }, "", true},
		"ignored":         {ignoresConditions, "ignores If-None-Match", true},
		"not implemented": {conditional(http.StatusNotImplemented, "NotImplemented"), "refuses If-None-Match", true},
		"not modified":    {conditional(http.StatusNotModified, ""), "", false},
		"conflict":        {conditional(http.StatusConflict, "ConditionalRequestConflict"), "", false},
		"precondition":    {conditional(http.StatusPreconditionFailed, "PreconditionFailed"), "", false},
	} {
		t.Run(name, func(t *testing.T) {
			o, _ := behind(t, c.quirk)
			s := open(t, o)
			caveats, err := s.Caveats(t.Context(), "tried")
			must(t, err)
			if got := strings.Join(caveats, "; "); !strings.Contains(got, c.caveat) || (got == "") != (c.caveat == "") {
				t.Errorf("the caveats are %q, want that it %q", got, c.caveat)
			}
			err = s.PutNew(t.Context(), "new", []byte("first"))
			if (err == nil) != c.created || err != nil && !errors.Is(err, sink.ErrExists) {
				t.Errorf("create: %v", err)
			}
			must(t, s.Put(t.Context(), "new", []byte("first")))
			if err := s.PutNew(t.Context(), "new", []byte("second")); !errors.Is(err, sink.ErrExists) {
				t.Errorf("create what is there: %v", err)
			}
		})
	}
}

// ignoresConditions answers every conditional request as if it had been done.
func ignoresConditions(_ http.ResponseWriter, r *http.Request, _ http.Handler) bool {
	if r.Header.Get("If-None-Match") == "" {
		return false
	}
	_, _ = io.Copy(io.Discard, r.Body)
	return true
}

// conditional answers every conditional request in this way.
func conditional(status int, code string) quirk {
	return func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Header.Get("If-None-Match") == "" {
			return false
		}
		refuse(w, status, code)
		return true
	}
}

// A folder of a gateway goes with its last object while another object is put into it.
func TestConflicts(t *testing.T) {
	var conflicts atomic.Int32
	o, _ := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodPut || conflicts.Add(-1) < 0 {
			return false
		}
		_, _ = io.Copy(io.Discard, r.Body)
		refuse(w, http.StatusConflict, "ExistingObjectIsDirectory")
		return true
	})
	s := open(t, o)
	for name, write := range map[string]func() error{
		"put":    func() error { return s.Put(t.Context(), "a/put", []byte("x")) },
		"create": func() error { return s.PutNew(t.Context(), "a/new", []byte("x")) },
		"upload": func() error { return upload(t.Context(), s, "a/small", 20, 0) },
		"copy":   func() error { return s.Copy(t.Context(), "from", "a/copy", 1) },
	} {
		conflicts.Store(0)
		must(t, s.Put(t.Context(), "from", []byte("x")))
		conflicts.Store(3)
		if err := write(); err != nil || conflicts.Load() >= 0 {
			t.Errorf("%s: %v", name, err)
		}
		conflicts.Store(1 << 20)
		if err := write(); err == nil || !strings.Contains(err.Error(), "by the test") && !errors.Is(err, sink.ErrExists) {
			t.Errorf("%s: of a conflict that does not end it says %v", name, err)
		}
	}
}

// The object is put together, the answer is lost, and the second try finds no upload.
func TestCompleteTwice(t *testing.T) {
	var completed atomic.Int32
	o, _ := behind(t, func(w http.ResponseWriter, r *http.Request, service http.Handler) bool {
		if !isComplete(r) || completed.Add(1) > 1 {
			return false
		}
		service.ServeHTTP(httptest.NewRecorder(), r)
		w.WriteHeader(http.StatusInternalServerError)
		return true
	})
	s := open(t, o)
	must(t, upload(t.Context(), s, "x", 20<<20, 0))
	if got := sizeOf(t, s, "x"); got != 20<<20 || completed.Load() < 2 {
		t.Errorf("%d bytes are stored after %d tries", got, completed.Load())
	}
}

// Checksums in trailers, and in headers that not all services know, are not sent.
func TestNoTrailers(t *testing.T) {
	o, _ := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		for name := range r.Header {
			name = strings.ToLower(name)
			if strings.HasPrefix(name, "x-amz-checksum") || name == "x-amz-trailer" || strings.HasPrefix(name, "x-amz-sdk") {
				refuse(w, http.StatusNotImplemented, "NotImplemented")
				return true
			}
		}
		if strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
			refuse(w, http.StatusNotImplemented, "NotImplemented")
			return true
		}
		return false
	})
	s := open(t, o)
	must(t, upload(t.Context(), s, "large", 20<<20, 0))
	must(t, upload(t.Context(), s, "small", 20, 0))
	must(t, s.Put(t.Context(), "put", []byte("x")))
}

// Every part fails once, after half of it: it costs that part, and not the upload.
func TestAPartIsSentAgain(t *testing.T) {
	var mu sync.Mutex
	tries := map[string]int{}
	o, _ := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if !isPart(r) {
			return false
		}
		mu.Lock()
		number := r.URL.Query().Get("partNumber")
		tries[number]++
		first := tries[number] == 1
		mu.Unlock()
		if !first {
			return false
		}
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.Close()
		}
		return true
	})
	s := open(t, o)
	must(t, upload(t.Context(), s, "x", 44<<20, 44<<20))
	if got := sizeOf(t, s, "x"); got != 44<<20 {
		t.Errorf("%d bytes are stored", got)
	}
	mu.Lock()
	defer mu.Unlock()
	for number, n := range tries {
		if n != 2 {
			t.Errorf("part %s was sent %d times", number, n)
		}
	}
	if len(tries) != 9 {
		t.Errorf("there were %d parts", len(tries))
	}
}

// What the service answers is an error that says what to do.
func TestAnswers(t *testing.T) {
	for code, c := range map[string]struct {
		status int
		want   error
		says   string
	}{
		"AccessDenied":          {http.StatusForbidden, sink.ErrUnavailable, "may not do that"},
		"InvalidAccessKeyId":    {http.StatusForbidden, sink.ErrUnavailable, "does not know these credentials"},
		"SignatureDoesNotMatch": {http.StatusForbidden, sink.ErrUnavailable, "secret key is wrong"},
		"RequestTimeTooSkewed":  {http.StatusForbidden, sink.ErrUnavailable, "clocks"},
		"NoSuchBucket":          {http.StatusNotFound, sink.ErrUnavailable, "no such bucket"},
		"QuotaExceeded":         {http.StatusForbidden, sink.ErrFull, "make room"},
		"XMinioStorageFull":     {http.StatusInsufficientStorage, sink.ErrFull, "make room"},
		"SomethingNew":          {http.StatusUnauthorized, sink.ErrUnavailable, "may not do that"},
	} {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { refuse(w, c.status, code) }))
		t.Setenv("AWS_ACCESS_KEY_ID", "key")
		t.Setenv("AWS_SECRET_ACCESS_KEY", "topsecret")
		err := open(t, s3.Options{Bucket: "backup", Endpoint: front.URL}).Put(t.Context(), "x", nil)
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) || strings.Contains(fmt.Sprint(err), "topsecret") {
			t.Errorf("%s: %v, want it to say %q", code, err, c.says)
		}
		front.Close()
	}
}

// Credentials expire while an artifact is sent, and what renews them writes their file.
func TestCredentialsAreRenewed(t *testing.T) {
	const expired = "the-old-key"
	file := t.TempDir() + "/credentials"
	write := func(key string, age time.Duration) {
		must(t, os.WriteFile(file, []byte("[backup]\naws_access_key_id = "+key+"\naws_secret_access_key = s\n"), 0o600))
		must(t, os.Chtimes(file, time.Now(), time.Now().Add(-age)))
	}
	write(expired, time.Hour)
	var refused atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.Header.Get("Authorization"), expired) {
			if refused.Add(1) == 2 {
				write("the-new-key", 0)
			}
			refuse(w, http.StatusBadRequest, "ExpiredToken")
		}
	}))
	defer front.Close()
	s := open(t, s3.Options{Bucket: "backup", Endpoint: front.URL, Credentials: file, Profile: "backup"})
	must(t, s.Put(t.Context(), "x", []byte("x")))
	if refused.Load() < 2 {
		t.Errorf("the old key was refused %d times", refused.Load())
	}
}

// Credentials that may not delete are enough to store points.
func TestWithoutTheRightToDelete(t *testing.T) {
	o, _ := behind(t, func(w http.ResponseWriter, r *http.Request, _ http.Handler) bool {
		if r.Method != http.MethodDelete {
			return false
		}
		refuse(w, http.StatusForbidden, "AccessDenied")
		return true
	})
	s, err := object.Open(t.Context(), open(t, o), "", "")
	must(t, err)
	staging, err := s.Stage(t.Context(), "points/h/container/n/i", "1")
	must(t, err)
	w, key, err := staging.Create(t.Context(), "image.tar.zst", 0)
	must(t, err)
	_, err = io.CopyN(w, pattern{}, 20<<20)
	must(t, err)
	must(t, w.Commit())
	must(t, staging.Publish(t.Context(), []byte(key)))
	must(t, staging.Discard(t.Context()))
	if err := s.RemovePoint(t.Context(), "points/h/container/n/i"); !errors.Is(err, sink.ErrMayNotRemove) {
		t.Errorf("the point is removed: %v", err)
	}
	for range 2 {
		probed, err := s.Probe(t.Context())
		caveats := probed.Warnings
		must(t, err)
		if len(caveats) != 1 || !strings.Contains(caveats[0], "may not delete: backups work") || slices.Contains(probed.May, "delete") {
			t.Errorf("the warnings are %q", caveats)
		}
	}
}

// A server that stands still, and goes on: what was sent meanwhile is sent again.
func TestAServerThatStandsStill(t *testing.T) {
	server := s3test.Start(t)
	o := s3.Options{Bucket: s3test.Bucket, Endpoint: server.URL, Credentials: server.Credentials}
	s := open(t, o.WithIdleTime(time.Second))
	u, err := s.Begin(t.Context(), "x", 0)
	must(t, err)
	_, err = io.CopyN(u, pattern{}, 30<<20)
	must(t, err)
	must(t, server.Process().Signal(syscall.SIGSTOP))
	time.AfterFunc(4*time.Second, func() { _ = server.Process().Signal(syscall.SIGCONT) })
	_, err = io.CopyN(u, pattern{}, 40<<20)
	must(t, err)
	must(t, u.Commit())
	if got := sizeOf(t, s, "x"); got != 70<<20 {
		t.Errorf("%d bytes are stored", got)
	}
}

// A server that is started again in the middle.
func TestAServerThatIsStartedAgain(t *testing.T) {
	server := s3test.Start(t)
	s := open(t, s3.Options{Bucket: s3test.Bucket, Endpoint: server.URL, Credentials: server.Credentials})
	u, err := s.Begin(t.Context(), "x", 0)
	must(t, err)
	_, err = io.CopyN(u, pattern{}, 30<<20)
	must(t, err)
	server.Stop()
	time.AfterFunc(3*time.Second, func() {
		if err := server.Run(); err != nil {
			t.Error(err)
		}
	})
	_, err = io.CopyN(u, pattern{}, 40<<20)
	must(t, err)
	must(t, u.Commit())
	if got := sizeOf(t, s, "x"); got != 70<<20 {
		t.Errorf("%d bytes are stored", got)
	}
}

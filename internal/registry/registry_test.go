package registry_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/panics"
	"holdfast.io/holdfast/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var auth = engine.Credentials{User: "holdfast", Password: "open sesame"}

func listen(t testing.TB) *registry.Server {
	t.Helper()
	s, err := registry.Listen(registry.Options{Credentials: auth, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// receiver keeps what it gets, and fails where it is told to.
type receiver struct {
	mu        sync.Mutex
	known     map[string]int64
	blobs     map[string][]byte
	manifests []registry.Manifest
	begun     int
	ended     int

	fail  map[string]error // by step
	write func(ctx context.Context) error
}

func (r *receiver) Known(_ context.Context, digest string) (int64, bool, error) {
	size, known := r.known[digest]
	return size, known, r.fail["known"]
}

func (r *receiver) Begin(ctx context.Context) (registry.Blob, error) {
	if err := r.fail["begin"]; err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun++
	return &blob{r: r, ctx: ctx}, nil
}

func (r *receiver) Manifest(_ context.Context, m registry.Manifest) error {
	r.manifests = append(r.manifests, m)
	return r.fail["manifest"]
}

func (r *receiver) wantEnded(t testing.TB) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.begun != r.ended {
		t.Errorf("%d blobs were begun, and %d ended", r.begun, r.ended)
	}
}

type blob struct {
	r     *receiver
	ctx   context.Context
	ended bool
	bytes.Buffer
}

func (b *blob) Write(p []byte) (int, error) {
	if b.ended {
		panic("the blob has ended")
	}
	if b.r.write != nil {
		if err := b.r.write(b.ctx); errors.Is(err, errDiscard) {
			return len(p), nil
		} else if err != nil {
			return 0, err
		}
	}
	if err := b.r.fail["write"]; err != nil {
		return 0, err
	}
	return b.Buffer.Write(p)
}

func (b *blob) Commit(_ context.Context, digest string, size int64) error {
	b.end()
	if err := b.r.fail["commit"]; err != nil {
		return err
	}
	if digest != digestOf(b.Bytes()) || size != int64(b.Len()) {
		return fmt.Errorf("%s of %d bytes is no %s of %d", digestOf(b.Bytes()), b.Len(), digest, size)
	}
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	if b.r.blobs == nil {
		b.r.blobs = map[string][]byte{}
	}
	b.r.blobs[digest] = b.Bytes()
	return nil
}

func (b *blob) Abort() { b.end() }

func (b *blob) end() {
	if b.ended {
		panic("the blob ends twice")
	}
	b.ended = true
	b.r.mu.Lock()
	defer b.r.mu.Unlock()
	b.r.ended++
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// daemon asks a server as a daemon does.
type daemon struct {
	t    testing.TB
	addr string
	auth engine.Credentials
}

// answer is what a server answered.
type answer struct {
	status  int
	header  http.Header
	code    string // of an error
	message string
}

func (d *daemon) ask(method, path string, body io.Reader, headers ...string) answer {
	d.t.Helper()
	a, err := d.try(method, path, body, headers...)
	if err != nil {
		d.t.Fatalf("%s %s: %v", method, path, err)
	}
	return a
}

func (d *daemon) try(method, path string, body io.Reader, headers ...string) (answer, error) {
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+d.addr+path, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	if d.auth != (engine.Credentials{}) {
		req.SetBasicAuth(d.auth.User, d.auth.Password)
	}
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	raw, err := io.ReadAll(resp.Body)
	if err != nil || len(raw) == 0 {
		return a, err
	}
	var e struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(raw, &e); err != nil || len(e.Errors) != 1 || a.status < 400 {
		return a, fmt.Errorf("%s is answered %d: %.200q, %w", path, a.status, raw, err)
	}
	a.code, a.message = e.Errors[0].Code, e.Errors[0].Message
	return a, nil
}

func (a answer) want(t testing.TB, status int, code string) {
	t.Helper()
	if a.status != status || a.code != code {
		t.Errorf("the answer is %d %s (%s), want %d %s", a.status, a.code, a.message, status, code)
	}
}

// push is one session, and a daemon that knows of it.
type push struct {
	daemon
	*registry.Session
	server *registry.Server
	r      *receiver
	base   string // of the paths
}

func open(t testing.TB, r *receiver) *push {
	t.Helper()
	s := listen(t)
	return openOn(t, s, r, "v1")
}

func openOn(t testing.TB, s *registry.Server, r *receiver, tag string) *push {
	t.Helper()
	session := s.Open(tag, r)
	t.Cleanup(func() {
		session.Close()
		r.wantEnded(t)
	})
	rest, ok := strings.CutPrefix(session.Reference(), s.Addr()+"/")
	repository, got, _ := strings.Cut(rest, ":")
	if !ok || got != tag {
		t.Fatalf("the reference is %q", session.Reference())
	}
	return &push{daemon: daemon{t: t, addr: s.Addr(), auth: auth}, Session: session, server: s, r: r, base: "/v2/" + repository + "/"}
}

// Nothing of a blob's size is in memory.
func TestStreams(t *testing.T) {
	const size = 256 << 20
	taken := 0
	p := open(t, &receiver{write: func(context.Context) error { taken++; return errDiscard }})
	at := p.begin()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	a := p.ask("PUT", at+"?digest="+digestOf(nil), io.LimitReader(zeros{}, size))
	runtime.ReadMemStats(&after)
	a.want(t, 400, "DIGEST_INVALID") // its own is nobody's to know
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 || taken < size/(1<<20) {
		t.Errorf("for %d bytes in %d pieces, %d bytes of memory were taken", size, taken, used)
	}
}

// errDiscard has a blob count as taken what it drops.
var errDiscard = errors.New("dropped")

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// begin begins an upload, and returns its path.
func (p *push) begin() string {
	p.t.Helper()
	a := p.ask("POST", p.base+"blobs/uploads/", nil)
	a.want(p.t, 202, "")
	return a.header.Get("Location")
}

// chunked is a body of no told length.
func chunked(s string) io.Reader { return struct{ io.Reader }{strings.NewReader(s)} }

func TestUploads(t *testing.T) {
	content := strings.Repeat("a blob", 100_000)
	digest := digestOf([]byte(content))
	empty := digestOf(nil)
	patch := func(p *push, at, body string, headers ...string) string {
		a := p.ask("PATCH", at, chunked(body), headers...)
		a.want(t, 202, "")
		return a.header.Get("Location")
	}
	put := func(p *push, at string, body io.Reader, digest string) {
		a := p.ask("PUT", at+"?digest="+digest, body)
		a.want(t, 201, "")
		if got := a.header.Get("Docker-Content-Digest"); got != digest {
			t.Errorf("the digest is %q, want %q", got, digest)
		}
	}
	for name, send := range map[string]func(p *push) string{
		"as a classic store": func(p *push) string { put(p, patch(p, p.begin(), content), nil, digest); return digest },
		"as containerd":      func(p *push) string { put(p, p.begin(), strings.NewReader(content), digest); return digest },
		"of no told length":  func(p *push) string { put(p, p.begin(), chunked(content), digest); return digest },
		"in pieces in order": func(p *push) string {
			put(p, patch(p, patch(p, p.begin(), content[:10]), content[10:20], "Content-Range", "10-19"), chunked(content[20:]), digest)
			return digest
		},
		"empty":               func(p *push) string { put(p, p.begin(), nil, empty); return empty },
		"empty, in no chunks": func(p *push) string { put(p, patch(p, p.begin(), ""), nil, empty); return empty },
		"instead of a mount": func(p *push) string {
			a := p.ask("POST", p.base+"blobs/uploads/?mount="+digest+"&from=other/repository", nil)
			a.want(t, 202, "")
			put(p, a.header.Get("Location"), strings.NewReader(content), digest)
			return digest
		},
		"twice at a time": func(p *push) string {
			var both sync.WaitGroup
			for range 2 {
				both.Go(func() { put(p, patch(p, p.begin(), content), nil, digest) })
			}
			both.Wait()
			return digest
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, &receiver{})
			p.t = t
			p.ask("HEAD", p.base+"blobs/"+digest, nil).want(t, 404, "")
			sent := send(p)
			if got, ok := p.r.blobs[sent]; !ok || digestOf(got) != sent {
				t.Errorf("%d bytes were taken", len(got))
			}
			a := p.ask("HEAD", p.base+"blobs/"+sent, nil)
			a.want(t, 200, "")
			if a.header.Get("Content-Length") != strconv.Itoa(len(p.r.blobs[sent])) || a.header.Get("Docker-Content-Digest") != sent {
				t.Errorf("what was sent is known as %v", a.header)
			}
			p.r.wantEnded(t)
		})
	}
}

func TestKnown(t *testing.T) {
	known, unknown := digestOf([]byte("known")), digestOf([]byte("unknown"))
	p := open(t, &receiver{known: map[string]int64{known: 5 << 30}})
	a := p.ask("HEAD", p.base+"blobs/"+known, nil)
	a.want(t, 200, "")
	if a.header.Get("Content-Length") != strconv.Itoa(5<<30) || a.header.Get("Docker-Content-Digest") != known {
		t.Errorf("a blob that is known is answered %v", a.header)
	}
	p.ask("HEAD", p.base+"blobs/"+unknown, nil).want(t, 404, "")
}

func TestManifest(t *testing.T) {
	const kind = "application/vnd.oci.image.manifest.v1+json"
	raw := []byte(`{"schemaVersion":2}`)
	p := open(t, &receiver{})
	p.ask("HEAD", p.base+"manifests/v1", nil).want(t, 404, "")
	p.ask("GET", p.base+"manifests/v1", nil).want(t, 404, "MANIFEST_UNKNOWN")
	for _, reference := range []string{digestOf(raw), "v1"} {
		a := p.ask("PUT", p.base+"manifests/"+reference, bytes.NewReader(raw), "Content-Type", kind+"; charset=utf-8")
		a.want(t, 201, "")
		if a.header.Get("Docker-Content-Digest") != digestOf(raw) {
			t.Errorf("the manifest is answered %v", a.header)
		}
	}
	for i, tag := range []string{"", "v1"} {
		m := p.r.manifests[i]
		if m.Tag != tag || m.MediaType != kind || m.Digest != digestOf(raw) || !bytes.Equal(m.Raw, raw) {
			t.Errorf("the manifest came as %+v", m)
		}
	}
}

// What a daemon does wrong is told, ends what it was done to, and nothing else.
func TestWrongRequests(t *testing.T) {
	digest := digestOf([]byte("a blob"))
	const kind = "application/json"
	for name, c := range map[string]struct {
		do     func(p *push) answer
		status int
		code   string
	}{
		"a wrong digest": {func(p *push) answer {
			return p.ask("PUT", p.begin()+"?digest="+digest, strings.NewReader("another blob"))
		}, 400, "DIGEST_INVALID"},
		"a wrong digest, after a chunk": {func(p *push) answer {
			at := p.ask("PATCH", p.begin(), chunked("another blob")).header.Get("Location")
			return p.ask("PUT", at+"?digest="+digest, nil)
		}, 400, "DIGEST_INVALID"},
		"no digest": {func(p *push) answer { return p.ask("PUT", p.begin(), strings.NewReader("a blob")) }, 400, "DIGEST_INVALID"},
		"another algorithm": {func(p *push) answer {
			return p.ask("PUT", p.begin()+"?digest=sha512:"+strings.Repeat("0", 128), strings.NewReader("a blob"))
		}, 400, "DIGEST_INVALID"},
		"a digest that is a path": {func(p *push) answer {
			return p.ask("PUT", p.begin()+"?digest=sha256:../../../etc/passwd", strings.NewReader("a blob"))
		}, 400, "DIGEST_INVALID"},
		"asked for no digest": {func(p *push) answer { return p.ask("HEAD", p.base+"blobs/latest", nil) }, 400, ""},
		"resumed": {func(p *push) answer {
			return p.ask("PATCH", p.begin(), chunked("a blob"), "Content-Range", "6-11")
		}, 416, "BLOB_UPLOAD_INVALID"},
		"asked how far it came":  {func(p *push) answer { return p.ask("GET", p.begin(), nil) }, 405, "UNSUPPORTED"},
		"an upload that is none": {func(p *push) answer { return p.ask("PATCH", p.base+"blobs/uploads/none", chunked("a blob")) }, 404, "BLOB_UPLOAD_UNKNOWN"},
		"an upload of somebody else": {func(p *push) answer {
			other := openOn(t, p.server, &receiver{}, "v2")
			_, id, _ := strings.Cut(other.begin(), "uploads/")
			return p.ask("PUT", p.base+"blobs/uploads/"+id+"?digest="+digest, strings.NewReader("a blob"))
		}, 404, "BLOB_UPLOAD_UNKNOWN"},
		"after its end": {func(p *push) answer {
			at := p.begin()
			p.ask("PUT", at+"?digest="+digest, strings.NewReader("a blob")).want(t, 201, "")
			return p.ask("PUT", at+"?digest="+digest, strings.NewReader("a blob"))
		}, 404, "BLOB_UPLOAD_UNKNOWN"},
		"after it was dropped": {func(p *push) answer {
			at := p.ask("PATCH", p.begin(), chunked("a blob")).header.Get("Location")
			p.ask("DELETE", at, nil).want(t, 204, "")
			return p.ask("PUT", at+"?digest="+digest, nil)
		}, 404, "BLOB_UPLOAD_UNKNOWN"},
		"a large manifest": {func(p *push) answer {
			return p.ask("PUT", p.base+"manifests/v1", strings.NewReader(strings.Repeat(" ", 4<<20+1)), "Content-Type", kind)
		}, 400, "MANIFEST_INVALID"},
		"a manifest of no type": {func(p *push) answer { return p.ask("PUT", p.base+"manifests/v1", strings.NewReader("{}")) }, 400, "MANIFEST_INVALID"},
		"a manifest of another tag": {func(p *push) answer {
			return p.ask("PUT", p.base+"manifests/v2", strings.NewReader("{}"), "Content-Type", kind)
		}, 403, "DENIED"},
		"a manifest of another digest": {func(p *push) answer {
			return p.ask("PUT", p.base+"manifests/"+digest, strings.NewReader("{}"), "Content-Type", kind)
		}, 403, "DENIED"},
		"a pull":               {func(p *push) answer { return p.ask("GET", p.base+"blobs/"+digest, nil) }, 405, "UNSUPPORTED"},
		"a list of tags":       {func(p *push) answer { return p.ask("GET", p.base+"tags/list", nil) }, 404, "UNSUPPORTED"},
		"a list of all":        {func(p *push) answer { return p.ask("GET", "/v2/_catalog", nil) }, 404, "UNSUPPORTED"},
		"something else":       {func(p *push) answer { return p.ask("GET", "/", nil) }, 404, "UNSUPPORTED"},
		"a removed blob":       {func(p *push) answer { return p.ask("DELETE", p.base+"blobs/"+digest, nil) }, 405, "UNSUPPORTED"},
		"a removed manifest":   {func(p *push) answer { return p.ask("DELETE", p.base+"manifests/v1", nil) }, 405, "UNSUPPORTED"},
		"a push under no name": {func(p *push) answer { return p.ask("POST", "/v2/holdfast/none/blobs/uploads/", nil) }, 404, "NAME_UNKNOWN"},
	} {
		t.Run(name, func(t *testing.T) {
			p := open(t, &receiver{})
			p.t = t
			p.ask("GET", "/v2/", nil).want(t, 200, "")
			c.do(p).want(t, c.status, c.code)
			p.r.wantEnded(t)
			if len(p.r.manifests) > 0 {
				t.Error("a manifest was taken")
			}
			p.ask("PUT", p.begin()+"?digest="+digest, strings.NewReader("a blob")).want(t, 201, "")
			if err := p.Err(); err != nil {
				t.Errorf("the session has ended by %v", err)
			}
		})
	}
}

// Whoever does not know the credentials gets one answer to everything.
func TestStrangers(t *testing.T) {
	p := open(t, &receiver{})
	digest := digestOf(nil)
	for _, who := range []engine.Credentials{{}, {User: auth.User}, {User: "x", Password: auth.Password}, {User: auth.User, Password: auth.Password + "x"},
		{User: "holdfast:open sesame"}, {User: auth.User, Password: strings.Repeat("x", 5000)}} {
		d := daemon{t: t, addr: p.server.Addr(), auth: who}
		for _, at := range []string{"/v2/", "/", "/v2/_catalog", p.base + "manifests/v1", p.base + "blobs/" + digest, p.base + "blobs/uploads/",
			p.base + "blobs/uploads/x?digest=" + digest, p.base + "tags/list", "/v2/holdfast/none/blobs/uploads/", "//v2/../v2"} {
			for _, method := range []string{"GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "BREW"} {
				a := d.ask(method, at, strings.NewReader("a blob"))
				code := "UNAUTHORIZED"
				if method == "HEAD" {
					code = ""
				}
				a.want(t, 401, code)
				if a.header.Get("Www-Authenticate") != `Basic realm="holdfast"` || strings.Contains(a.message, "v1") {
					t.Errorf("%s %s is answered %v: %s", method, at, a.header, a.message)
				}
			}
		}
	}
	if p.r.begun > 0 || len(p.r.manifests) > 0 || p.Err() != nil {
		t.Errorf("a stranger reached the receiver: %+v, %v", p.r, p.Err())
	}
}

// An error of the receiver is the daemon's answer from then on, whatever it asks.
func TestReceiverFails(t *testing.T) {
	digest := digestOf([]byte("a blob"))
	cause := errors.New("the sink is full:\n\tno space\x00 left on device")
	for step, do := range map[string]func(p *push) answer{
		"begin":  func(p *push) answer { return p.ask("PATCH", p.begin(), chunked("a blob")) },
		"write":  func(p *push) answer { return p.ask("PATCH", p.begin(), chunked("a blob")) },
		"commit": func(p *push) answer { return p.ask("PUT", p.begin()+"?digest="+digest, strings.NewReader("a blob")) },
		"manifest": func(p *push) answer {
			return p.ask("PUT", p.base+"manifests/v1", strings.NewReader("{}"), "Content-Type", "a/b")
		},
		"known": func(p *push) answer {
			p.ask("HEAD", p.base+"blobs/"+digest, nil).want(t, 404, "") // it could not say why
			return p.ask("POST", p.base+"blobs/uploads/", nil)
		},
	} {
		t.Run(step, func(t *testing.T) {
			p := open(t, &receiver{fail: map[string]error{step: cause}})
			p.t = t
			for _, a := range []answer{do(p), p.ask("GET", p.base+"blobs/"+digest, nil), p.ask("POST", p.base+"blobs/uploads/", nil),
				p.ask("PUT", p.base+"manifests/v1", strings.NewReader("{}"), "Content-Type", "a/b")} {
				a.want(t, 403, "DENIED")
				if !strings.HasSuffix(a.message, "the sink is full: no space left on device") {
					t.Errorf("the daemon is told %q", a.message)
				}
			}
			if !errors.Is(p.Err(), cause) {
				t.Errorf("the session has the error %v", p.Err())
			}
			p.r.wantEnded(t)
			openOn(t, p.server, &receiver{}, "v2").begin() // others go on
		})
	}
}

// A manifest that names a blob which has to be sent is refused, and the push may be tried again.
func TestBlobUnknown(t *testing.T) {
	r := &receiver{fail: map[string]error{"manifest": fmt.Errorf("%w: of a layer", registry.ErrBlobUnknown)}}
	p := open(t, r)
	put := func() answer {
		return p.ask("PUT", p.base+"manifests/v1", strings.NewReader("{}"), "Content-Type", "a/b")
	}
	put().want(t, 400, "MANIFEST_BLOB_UNKNOWN")
	digest := digestOf([]byte("a blob"))
	p.ask("HEAD", p.base+"blobs/"+digest, nil).want(t, 404, "")
	p.ask("PUT", p.begin()+"?digest="+digest, strings.NewReader("a blob")).want(t, 201, "")
	delete(r.fail, "manifest")
	put().want(t, 201, "")
	if err := p.Err(); err != nil {
		t.Errorf("the session has the error %v", err)
	}
}

// A panic of the receiver costs the push, and leaves no blob behind.
func TestReceiverPanics(t *testing.T) {
	p := open(t, &receiver{write: func(context.Context) error { panic("a fault") }})
	p.ask("PATCH", p.begin(), chunked("a blob")).want(t, 403, "DENIED")
	if panics.Stack(p.Err()) == nil {
		t.Errorf("the session has the error %v", p.Err())
	}
	p.r.wantEnded(t)
}

// A daemon in the midst of sending reads why it is refused: what it sends is not cut
// off, which would lose the answer, and have it try again.
func TestRefusalIsRead(t *testing.T) {
	server := listen(t)
	for i := range 8 {
		p := openOn(t, server, &receiver{fail: map[string]error{"write": errors.New("the sink is full")}}, fmt.Sprint("v", i))
		for _, body := range []io.Reader{chunked(strings.Repeat("x", 4<<20)), strings.NewReader(strings.Repeat("x", 4<<20))} {
			a := p.ask("PATCH", p.base+"blobs/uploads/none", body)
			a.want(t, 404, "BLOB_UPLOAD_UNKNOWN")
		}
		a := p.ask("PATCH", p.begin(), chunked(strings.Repeat("x", 4<<20)))
		a.want(t, 403, "DENIED")
		at := p.base + "blobs/uploads/" + fmt.Sprint(i)
		p.Close()
		p.ask("PATCH", at, chunked(strings.Repeat("x", 4<<20))).want(t, 404, "NAME_UNKNOWN")
	}
}

// halfSent begins to send a blob, and leaves it at that. It returns when the receiver
// has begun to take it.
func (p *push) halfSent() net.Conn {
	p.t.Helper()
	began := make(chan struct{})
	var once sync.Once
	p.r.write = func(context.Context) error { once.Do(func() { close(began) }); return nil }
	req, err := http.NewRequest(http.MethodPatch, p.begin(), nil)
	if err != nil {
		p.t.Fatal(err)
	}
	req.SetBasicAuth(auth.User, auth.Password)
	c, err := net.Dial("tcp", p.addr)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { c.Close() })
	fmt.Fprintf(c, "PATCH %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		req.URL.Path, req.Header.Get("Authorization"))
	<-began
	return c
}

func TestHalfSent(t *testing.T) {
	p := open(t, &receiver{})
	p.halfSent().Close()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		p.r.mu.Lock()
		ended := p.r.ended
		p.r.mu.Unlock()
		if ended == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a blob that broke off is not aborted")
		}
	}
	p.r.write = nil
	p.ask("PUT", p.begin()+"?digest="+digestOf([]byte("a blob")), strings.NewReader("a blob")).want(t, 201, "")
	if p.Err() != nil {
		t.Errorf("the session has ended by %v", p.Err())
	}
}

// The end of a session ends what runs in it, what has not come to its end, and what
// waits for more; and its name is nobody's then.
func TestClose(t *testing.T) {
	p := open(t, &receiver{})
	waiting := p.ask("PATCH", p.begin(), chunked("a blob")).header.Get("Location")
	c := p.halfSent()
	blocked := make(chan struct{})
	var once sync.Once
	p.r.mu.Lock()
	p.r.write = func(ctx context.Context) error {
		once.Do(func() { close(blocked) })
		<-ctx.Done()
		return context.Cause(ctx)
	}
	p.r.mu.Unlock()
	at := p.begin()
	answered := make(chan answer, 1)
	go func() {
		a, err := p.try("PATCH", at, chunked("a blob"))
		if err != nil {
			a.message = err.Error()
		}
		answered <- a
	}()
	<-blocked
	began := time.Now()
	p.Close()
	next := openOn(t, p.server, &receiver{}, "v2")
	p.Close() // again, which ends nothing of another one's
	next.begin()
	next.Close()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("to close it took %s", took)
	}
	p.r.wantEnded(t)
	if p.r.begun != 3 || p.Err() != nil {
		t.Errorf("%d blobs were begun, want 3; the session has the error %v", p.r.begun, p.Err())
	}
	(<-answered).want(t, 403, "DENIED")
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if raw, err := io.ReadAll(c); err != nil || !strings.Contains(string(raw), "403 Forbidden") {
		t.Errorf("who had sent half of it is answered %q, %v", raw, err)
	}
	p.ask("PUT", waiting+"?digest="+digestOf([]byte("a blob")), nil).want(t, 404, "NAME_UNKNOWN")
	p.ask("POST", p.base+"blobs/uploads/", nil).want(t, 404, "NAME_UNKNOWN")
}

func TestServerClose(t *testing.T) {
	p := open(t, &receiver{})
	p.halfSent()
	if err := p.server.Close(); err != nil {
		t.Error(err)
	}
	p.r.wantEnded(t)
	if _, err := p.try("GET", "/v2/", nil); err == nil {
		t.Error("a server that is closed answers")
	}
	after := p.server.Open("v9", &receiver{})
	after.Close()
	if err := p.server.Close(); err != nil {
		t.Error(err)
	}
}

// Names are the same again for the same credentials, and different at a time.
func TestNames(t *testing.T) {
	name := func(p *push) string { return p.base }
	first := open(t, &receiver{})
	second := openOn(t, first.server, &receiver{}, "v2")
	other := open(t, &receiver{})
	if name(first) == name(second) || name(first) != name(other) {
		t.Errorf("the names are %s, %s and of another server %s", name(first), name(second), name(other))
	}
	first.Close()
	if again := openOn(t, first.server, &receiver{}, "v3"); name(again) != name(first) {
		t.Errorf("the name is %s, want %s again", name(again), name(first))
	}
	s, err := registry.Listen(registry.Options{Credentials: engine.Credentials{User: auth.User, Password: "another"}, Log: zaptest.NewLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if theirs := openOn(t, s, &receiver{}, "v1"); name(theirs) == name(first) {
		t.Error("the name does not depend on the password")
	}
}

func TestListen(t *testing.T) {
	first := listen(t)
	_, text, _ := net.SplitHostPort(first.Addr())
	port, _ := strconv.Atoi(text)
	options := registry.Options{Port: port, Credentials: auth, Log: zaptest.NewLogger(t)}
	second, err := registry.Listen(options)
	if err != nil {
		t.Fatalf("with a port that is taken: %v", err)
	}
	second.Close()
	if second.Addr() == first.Addr() {
		t.Error("two listen at one port")
	}
	first.Close()
	third, err := registry.Listen(options)
	if err != nil || third.Addr() != first.Addr() {
		t.Fatalf("with a port that is free it listens at %v, %v", third, err)
	}
	third.Close()
	for _, c := range []engine.Credentials{{}, {User: "x"}, {Password: "x"}, {User: "a:b", Password: "x"}} {
		if s, err := registry.Listen(registry.Options{Credentials: c, Log: zaptest.NewLogger(t)}); err == nil {
			s.Close()
			t.Errorf("it listens with the credentials %#v", c)
		}
	}
}

func TestReached(t *testing.T) {
	s := listen(t)
	asks := func(addr string) func(context.Context, string, engine.Credentials) error {
		return func(_ context.Context, reference string, given engine.Credentials) error {
			d := daemon{t: t, addr: s.Addr(), auth: given}
			rest, _ := strings.CutPrefix(reference, s.Addr()+"/")
			repository, tag, _ := strings.Cut(rest, ":")
			if addr != "" {
				d.addr = addr
			}
			a, err := d.try("GET", "/v2/"+repository+"/manifests/"+tag, nil)
			if err == nil {
				err = errors.New(a.code)
			}
			return err
		}
	}
	if err := s.Reached(t.Context(), asks("")); err != nil {
		t.Errorf("a daemon that asks does not reach it: %v", err)
	}
	other := listen(t)
	away := errors.New("the Engine is away")
	for name, ask := range map[string]func(context.Context, string, engine.Credentials) error{
		"of another one": asks(other.Addr()),
		"of nobody":      asks("127.0.0.1:1"),
		"away":           func(context.Context, string, engine.Credentials) error { return away },
		"of somebody":    func(context.Context, string, engine.Credentials) error { return nil },
		"with another's credentials": func(ctx context.Context, reference string, _ engine.Credentials) error {
			return asks("")(ctx, reference, auth)
		},
	} {
		err := s.Reached(t.Context(), ask)
		if !errors.Is(err, registry.ErrNotReached) || name == "away" && !errors.Is(err, away) {
			t.Errorf("when it is asked %s it reports %v", name, err)
		}
	}
	// What was good for the question is good for nothing else.
	p := openOn(t, s, &receiver{}, "v1")
	err := s.Reached(t.Context(), func(_ context.Context, _ string, given engine.Credentials) error {
		d := daemon{t: t, addr: s.Addr(), auth: given}
		for _, path := range []string{"/v2/", p.base + "manifests/v1", p.base + "blobs/uploads/"} {
			d.ask("GET", path, nil).want(t, 401, "UNAUTHORIZED")
		}
		return nil
	})
	if !errors.Is(err, registry.ErrNotReached) {
		t.Errorf("it reports %v", err)
	}
}

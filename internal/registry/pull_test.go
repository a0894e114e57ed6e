package registry_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/registry"
)

const (
	blobText     = "the bytes of a layer"
	manifestText = `{"schemaVersion":2}`
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
)

// pull is an offer, and a daemon that knows of it.
type pull struct {
	daemon
	*registry.Session
	base string
}

// offer offers an image of one blob.
func offer(t testing.TB, s *registry.Server, open func(ctx context.Context) (io.ReadCloser, error)) *pull {
	t.Helper()
	var told string
	session := s.Offer("v1", func(reference string) registry.Image {
		told = reference
		return registry.Image{MediaType: manifestType, Manifest: []byte(manifestText),
			Blobs: map[string]registry.Content{digestOf([]byte(blobText)): {Size: int64(len(blobText)), Open: open}}}
	})
	if told != session.Reference() {
		t.Errorf("its reference is %q, and was told as %q", session.Reference(), told)
	}
	t.Cleanup(session.Close)
	repository, _, _ := strings.Cut(strings.TrimPrefix(session.Reference(), s.Addr()+"/"), ":")
	return &pull{daemon{t: t, addr: s.Addr(), auth: auth}, session, "/v2/" + repository + "/"}
}

func whole(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(blobText)), nil
}

// pulled is what came of a path, and the error with which the answer ended.
type pulled struct {
	answer
	length int64 // that was told
	text   string
	err    error
}

// get reads what is at a path.
func (d *daemon) get(method, path string) (p pulled) {
	d.t.Helper()
	req, err := http.NewRequestWithContext(d.t.Context(), method, "http://"+d.addr+path, http.NoBody)
	if err != nil {
		d.t.Fatal(err)
	}
	req.SetBasicAuth(d.auth.User, d.auth.Password)
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		p.err = err
		return p
	}
	defer resp.Body.Close()
	p.answer, p.length = answer{status: resp.StatusCode, header: resp.Header}, resp.ContentLength
	raw, err := io.ReadAll(resp.Body)
	p.text, p.err = string(raw), err
	return p
}

func TestPull(t *testing.T) {
	p := offer(t, listen(t), whole)
	blob, manifest := digestOf([]byte(blobText)), digestOf([]byte(manifestText))
	for path, want := range map[string]struct{ digest, mediaType, text string }{
		"manifests/v1":          {manifest, manifestType, manifestText},
		"manifests/" + manifest: {manifest, manifestType, manifestText},
		"blobs/" + blob:         {blob, "application/octet-stream", blobText},
	} {
		for _, method := range []string{"GET", "HEAD", "GET"} {
			got := p.get(method, p.base+path)
			wantText := want.text
			if method == "HEAD" {
				wantText = ""
			}
			got.want(t, http.StatusOK, "")
			if got.err != nil || got.text != wantText || got.length != int64(len(want.text)) ||
				got.header.Get("Docker-Content-Digest") != want.digest || got.header.Get("Content-Type") != want.mediaType {
				t.Errorf("%s %s is answered %v %q, %v", method, path, got.header, got.text, got.err)
			}
		}
	}
	if err := p.Err(); err != nil {
		t.Errorf("the session has the error %v", err)
	}
}

// What is offered is there for the daemon alone, under its name alone, for as long as the
// session lasts, and nothing can be pushed there. What is pushed cannot be pulled.
func TestPullIsRefused(t *testing.T) {
	s := listen(t)
	p := offer(t, s, whole)
	blob := "blobs/" + digestOf([]byte(blobText))
	paths := []string{p.base + blob, p.base + "manifests/v1", p.base + "manifests/" + digestOf([]byte(manifestText))}
	for _, stranger := range []engine.Credentials{{}, {User: auth.User}, {User: auth.User, Password: "wrong"}} {
		d := daemon{t: t, addr: s.Addr(), auth: stranger}
		for _, path := range paths {
			d.ask("GET", path, nil).want(t, 401, "UNAUTHORIZED")
			d.ask("HEAD", path, nil).want(t, 401, "")
		}
	}
	push := openOn(t, s, &receiver{}, "v2")
	for path, code := range map[string]string{
		strings.Replace(p.base, "/v2/", "/v2/other/", 1) + blob:     "UNSUPPORTED",
		"/v2/holdfast/" + strings.Repeat("0", 32) + "/" + blob:      "NAME_UNKNOWN",
		"/v2/holdfast/" + strings.Repeat("0", 32) + "/manifests/v1": "NAME_UNKNOWN",
		p.base + "manifests/v2":                                     "MANIFEST_UNKNOWN",
		p.base + "blobs/" + digestOf(nil):                           "BLOB_UNKNOWN",
		push.base + "manifests/v1":                                  "MANIFEST_UNKNOWN",
		push.base + "manifests/" + digestOf([]byte(manifestText)):   "MANIFEST_UNKNOWN",
	} {
		p.ask("GET", path, nil).want(t, 404, code)
	}
	p.ask("GET", p.base+"blobs/sha256:zz", nil).want(t, 400, "DIGEST_INVALID")
	p.ask("GET", push.base+blob, nil).want(t, 405, "UNSUPPORTED")
	p.ask("POST", p.base+"blobs/uploads/", nil).want(t, 405, "UNSUPPORTED")
	p.ask("PUT", p.base+"manifests/v1", strings.NewReader("{}"), "Content-Type", manifestType).want(t, 405, "UNSUPPORTED")
	p.Close()
	for _, path := range paths {
		p.ask("GET", path, nil).want(t, 404, "NAME_UNKNOWN")
	}
}

// What cannot be read to its end is not taken for whole, and is told.
func TestPullBreaks(t *testing.T) {
	broken := errors.New("a flipped bit")
	half := func(err error) func(context.Context) (io.ReadCloser, error) {
		return func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(io.MultiReader(strings.NewReader(blobText[:5]), failing{err})), nil
		}
	}
	for name, open := range map[string]func(context.Context) (io.ReadCloser, error){
		"Open":  func(context.Context) (io.ReadCloser, error) { return nil, broken },
		"Read":  half(broken),
		"Short": half(io.EOF),
		"Panic": func(context.Context) (io.ReadCloser, error) { panic("a fault") },
	} {
		t.Run(name, func(t *testing.T) {
			p := offer(t, listen(t), open)
			if got := p.get("GET", p.base+"blobs/"+digestOf([]byte(blobText))); got.status == http.StatusOK && got.err == nil {
				t.Errorf("it is answered %q", got.text)
			}
			if name == "Short" {
				return
			}
			if err := p.Err(); err == nil || name != "Panic" && !errors.Is(err, broken) {
				t.Errorf("the session has the error %v", err)
			}
			p.t = t
			p.ask("GET", p.base+"manifests/v1", nil).want(t, 403, "DENIED")
		})
	}
}

// A daemon that takes nothing, or a source that gives nothing, does not keep a session.
func TestPullEnds(t *testing.T) {
	for name, open := range map[string]func(ctx context.Context) (io.ReadCloser, error){
		"the daemon takes nothing": func(context.Context) (io.ReadCloser, error) { return io.NopCloser(zeros{}), nil },
		"the source gives nothing": func(ctx context.Context) (io.ReadCloser, error) {
			return io.NopCloser(stuck{ctx}), nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := listen(t)
			opened := make(chan struct{})
			session := s.Offer("v1", func(string) registry.Image {
				return registry.Image{Blobs: map[string]registry.Content{digestOf(nil): {Size: 1 << 40,
					Open: func(ctx context.Context) (io.ReadCloser, error) { close(opened); return open(ctx) }}}}
			})
			path := "/v2/" + strings.TrimSuffix(strings.TrimPrefix(session.Reference(), s.Addr()+"/"), ":v1") + "/blobs/" + digestOf(nil)
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			req := httptest.NewRequestWithContext(t.Context(), "GET", path, http.NoBody)
			req.SetBasicAuth(auth.User, auth.Password)
			if err := req.Write(c); err != nil {
				t.Fatal(err)
			}
			<-opened
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				session.Close()
			}()
			select {
			case <-ended:
			case <-time.After(30 * time.Second):
				t.Fatal("the session does not end")
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type stuck struct{ ctx context.Context }

func (s stuck) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, context.Cause(s.ctx)
}

// Whatever is asked of an offer, nothing comes but what is offered.
func FuzzPulls(f *testing.F) {
	for _, seed := range [][3]string{
		{"GET", "NAME/manifests/v1", ""}, {"HEAD", "NAME/blobs/BLOB", "ns=127.0.0.1"}, {"GET", "NAME/blobs/BLOB", ""},
		{"GET", "NAME/blobs/sha256:%2e%2e", ""}, {"PUT", "NAME/blobs/BLOB", "digest=BLOB"}, {"DELETE", "NAME/manifests/v1", ""},
		{"GET", "NAME/tags/list", "n=1"}, {"POST", "NAME/blobs/uploads/", "mount=BLOB&from=a/b"}, {"GET", "//v2/./holdfast//x", ""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	server := listen(f)
	f.Fuzz(func(t *testing.T, method, path, query string) {
		p := offer(t, server, whole)
		names := strings.NewReplacer("NAME", strings.TrimSuffix(p.base, "/"), "BLOB", digestOf([]byte(blobText)))
		r := &http.Request{Method: method, URL: &url.URL{Path: names.Replace(path), RawQuery: names.Replace(query)}, Header: http.Header{},
			Body: http.NoBody, Host: "x", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}
		r.SetBasicAuth(auth.User, auth.Password)
		w := httptest.NewRecorder()
		server.ServeHTTP(w, r.WithContext(t.Context()))
		text := w.Body.String()
		if w.Code >= 500 || w.Code < 200 || w.Code == http.StatusOK && text != "" && text != blobText && text != manifestText {
			t.Errorf("%s %q?%q is answered %d %q", method, path, query, w.Code, text)
		}
		p.Close()
		if err := p.Err(); err != nil {
			t.Errorf("%s %q?%q ended the session by %v", method, path, query, err)
		}
	})
}

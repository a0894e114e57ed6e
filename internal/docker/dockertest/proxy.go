package dockertest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/docker/docker/client"

	"holdfast.io/holdfast/internal/engine"
)

// Proxy is a socket proxy before an Engine, as people put one before it to let
// through only some calls. Until it is told otherwise it lets through the calls of
// package engine and refuses all others.
type Proxy struct {
	t      testing.TB
	socket string
	ctx    context.Context //nolint:containedctx // of the test

	mu    sync.Mutex
	rules map[engine.Call]Treatment
	asked []Asked
}

// Treatment is what the proxy does with a call. The zero value lets it through.
type Treatment struct {
	// Refuse answers 403 with a page, as HAProxy does; Status answers with this
	// status instead, and Message with a message in the Engine's form.
	Refuse  bool
	Status  int
	Message string
	// Hang never answers, and does not ask the Engine.
	Hang bool
	// Before is called before the Engine is asked.
	Before func()
	// Unanswered lets the Engine answer and closes the connection instead of passing
	// the answer on.
	Unanswered bool
	// Cut closes the connection after so many bytes of the answer's body.
	Cut int64
}

// Asked is a call that came to the proxy.
type Asked struct {
	Call    engine.Call // empty if it is none of them
	Method  string
	Path    string // without the version
	Refused bool
}

// NewProxy puts a proxy before the Engine at host, until the test ends.
func NewProxy(t testing.TB, host string) *Proxy {
	t.Helper()
	dir, err := os.MkdirTemp("", "hfproxy") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Proxy{t: t, socket: filepath.Join(dir, "s"), ctx: ctx}
	target, err := client.ParseHostURL(host)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, target.Scheme, target.Host)
	}}
	listener, err := net.Listen("unix", p.socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: p.handler(transport), BaseContext: func(net.Listener) context.Context { return ctx }}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // ends with the test
	}()
	t.Cleanup(func() {
		cancel()
		server.Close()
		<-served
		transport.CloseIdleConnections()
		os.RemoveAll(dir)
	})
	return p
}

// Host returns the address to reach the Engine at through the proxy.
func (p *Proxy) Host() string { return "unix://" + p.socket }

// Treat says what the proxy does with a call from now on.
func (p *Proxy) Treat(t Treatment, calls ...engine.Call) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rules == nil {
		p.rules = map[engine.Call]Treatment{}
	}
	for _, c := range calls {
		p.rules[c] = t
	}
}

// Asked returns the calls that came so far, in order.
func (p *Proxy) Asked() []Asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Asked(nil), p.asked...)
}

var errUnanswered = errors.New("the answer is not passed on")

func (p *Proxy) handler(transport http.RoundTripper) http.Handler {
	type key struct{}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: client.DummyHost})
		},
		Transport:     transport,
		FlushInterval: -1,
		ModifyResponse: func(r *http.Response) error {
			treatment, _ := r.Request.Context().Value(key{}).(Treatment)
			if treatment.Unanswered {
				return errUnanswered
			}
			if treatment.Cut > 0 {
				r.Body = &cutReader{ReadCloser: r.Body, left: treatment.Cut}
				r.ContentLength = -1
				r.Header.Del("Content-Length")
			}
			return nil
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
		ErrorLog:     nil,
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		treatment := p.treatment(r)
		switch {
		case treatment.Hang:
			select {
			case <-r.Context().Done():
			case <-p.ctx.Done():
			}
			panic(http.ErrAbortHandler)
		case treatment.Refuse:
			refuse(w, treatment)
		default:
			if treatment.Before != nil {
				treatment.Before()
			}
			pass.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, treatment)))
		}
	})
}

func refuse(w http.ResponseWriter, t Treatment) {
	status := t.Status
	if status == 0 {
		status = http.StatusForbidden
	}
	if t.Message != "" {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, t.Message)
		return
	}
	w.Header().Set("Content-Type", "text/html")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<html><body><h1>403 Forbidden</h1>\nRequest forbidden by administrative rules.\n</body></html>\n")
}

// treatment enters the call, and returns what is to be done with it.
func (p *Proxy) treatment(r *http.Request) Treatment {
	path := version.ReplaceAllString(r.URL.Path, "")
	call := callOf(r.Method, path)
	p.mu.Lock()
	defer p.mu.Unlock()
	treatment, ok := p.rules[call]
	if !ok && call == "" {
		treatment.Refuse = true
	}
	p.asked = append(p.asked, Asked{Call: call, Method: r.Method, Path: path, Refused: treatment.Refuse})
	return treatment
}

var version = regexp.MustCompile(`^/v[0-9]+\.[0-9]+`)

// callOf returns what call it is; empty if none. Rules of proxies are written in
// this way.
func callOf(method, path string) engine.Call {
	if method == http.MethodHead && path == "/_ping" {
		return engine.CallPing
	}
	for _, c := range engine.Calls {
		m, p := c.Endpoint()
		if m == method && patterns[p].MatchString(path) {
			return c
		}
	}
	return ""
}

var patterns = func() map[string]*regexp.Regexp {
	all := map[string]*regexp.Regexp{}
	for _, c := range engine.Calls {
		_, path := c.Endpoint()
		pattern := strings.NewReplacer(`\{id\}`, `[A-Za-z0-9_.-]+`, `\{name\}`, `.+`).Replace(regexp.QuoteMeta(path))
		all[path] = regexp.MustCompile("^" + pattern + "$")
	}
	return all
}()

// cutReader breaks off after some bytes.
type cutReader struct {
	io.ReadCloser
	left int64
}

func (r *cutReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.ErrUnexpectedEOF
	}
	n, err := r.ReadCloser.Read(b[:min(int64(len(b)), r.left)])
	r.left -= int64(n)
	return n, err
}

package oci_test

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
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/oci"
	"holdfast.io/holdfast/internal/sink/oci/ocitest"
)

// through returns options of a way to the registry on which something may happen to a request.
// happens reports whether it has answered it.
func through(t *testing.T, server *ocitest.Server, happens func(w http.ResponseWriter, r *http.Request) bool) oci.Options {
	t.Helper()
	to, err := url.Parse(server.URL)
	must(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) },
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
	way := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !happens(w, r) {
			forward.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(way.Close)
	return oci.Options{Registry: strings.TrimPrefix(way.URL, "http://"), Repository: "backups/web", Endpoint: way.URL}.
		Hasten(20*time.Millisecond, 20*time.Millisecond)
}

func large() []byte { return bytes.Repeat([]byte("0123456789abcdef!"), 1<<20) }

func upload(ctx context.Context, s object.Store, key string, content []byte) error {
	u, err := s.Begin(ctx, key, 0)
	if err != nil {
		return err
	}
	if _, err = io.Copy(u, bytes.NewReader(content)); err == nil {
		err = u.Commit()
	}
	if err != nil {
		err = errors.Join(err, u.Abort(ctx))
	}
	return err
}

// An upload goes on when the connection breaks within a chunk, when the answer to one is lost, and
// when the registry fails for a while.
func TestUploadGoesOn(t *testing.T) {
	for name, happens := range map[string]func(server *ocitest.Server, w http.ResponseWriter, r *http.Request){
		"the connection breaks within a chunk": func(_ *ocitest.Server, _ http.ResponseWriter, r *http.Request) {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r.Body, 1<<20), broken{}), r.Body}
		},
		"the answer is lost": func(server *ocitest.Server, _ http.ResponseWriter, r *http.Request) {
			to, _ := url.Parse(server.URL)
			again := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
			again.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		},
		"the registry fails": func(_ *ocitest.Server, w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		},
		"the registry dies": func(server *ocitest.Server, _ http.ResponseWriter, _ *http.Request) {
			server.Stop()
			if err := server.Run(); err != nil {
				panic(err)
			}
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := ocitest.Start(t, ocitest.Options{})
			var chunks atomic.Int32
			s := open(t, through(t, server, func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPatch || chunks.Add(1) != 2 {
					return false
				}
				happens(server, w, r)
				return name == "the registry fails"
			}))
			must(t, upload(t.Context(), s, "a", large()))
			if got := read(t, s, "a"); got != string(large()) {
				t.Errorf("it has %d bytes, and not those that were written", len(got))
			}
			if chunks.Load() < 4 {
				t.Errorf("%d chunks were sent", chunks.Load())
			}
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// What the registry answers is told as what it means, and is tried again where that may help.
func TestAnswers(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	for _, c := range []struct {
		status int
		body   string
		tries  int32
		want   error
		says   string
	}{
		{http.StatusServiceUnavailable, "", 7, sink.ErrUnavailable, "it fails, or is busy"},
		{http.StatusTooManyRequests, "", 7, sink.ErrUnavailable, "429"},
		{http.StatusInsufficientStorage, "", 1, sink.ErrFull, "make room"},
		{http.StatusForbidden, `{"errors": [{"code": "DENIED", "message": "no"}]}`, 1, sink.ErrUnavailable, "DENIED (no)"},
		{http.StatusNotFound, `{"errors": [{"code": "NAME_UNKNOWN"}]}`, 1, sink.ErrUnavailable, "no such repository"},
	} {
		var tries atomic.Int32
		s := open(t, through(t, server, func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPost {
				return false
			}
			tries.Add(1)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
			return true
		}))
		err := s.Put(t.Context(), "a", []byte("x"))
		if !errors.Is(err, c.want) || !strings.Contains(fmt.Sprint(err), c.says) || tries.Load() != c.tries {
			t.Errorf("%d: %v after %d tries, want %v that says %q after %d", c.status, err, tries.Load(), c.want, c.says, c.tries)
		}
	}
}

// A registry that lists tags in pages, and one that knows no ranges.
func TestLimitedRegistry(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	var pages atomic.Int32
	s := open(t, through(t, server, func(_ http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("Range")
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			pages.Add(1)
			q := r.URL.Query()
			q.Set("n", "3")
			r.URL.RawQuery = q.Encode()
		}
		return false
	}))
	content := strings.Repeat("0123456789", 1000)
	for i := range 10 {
		must(t, s.Put(t.Context(), fmt.Sprintf("list/%d", i), []byte(content)))
	}
	n := 0
	for entry, err := range s.List(t.Context(), "list/") {
		must(t, err)
		if want := fmt.Sprintf("list/%d", n); entry.Key != want {
			t.Errorf("%s is listed, want %s", entry.Key, want)
		}
		n++
	}
	if n != 10 || pages.Load() < 4 {
		t.Errorf("%d objects are listed in %d pages", n, pages.Load())
	}
	r, _, err := s.Open(t.Context(), "list/1", 13, 4, "")
	must(t, err)
	defer r.Close()
	if got, err := io.ReadAll(r); err != nil || string(got) != "3456" {
		t.Errorf("a part is %q, %v", got, err)
	}
}

func TestNothingMayBeRemoved(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{KeepsAll: true})
	s := open(t, plain(server))
	must(t, upload(t.Context(), s, "a", large()))
	must(t, upload(t.Context(), s, "a", []byte("small")))
	must(t, s.Put(t.Context(), "a", []byte("another")))
	if got := read(t, s, "a"); got != "another" {
		t.Errorf("it is %q", got)
	}
	storePoint(t, s, firstID, "a layer")
	storePoint(t, s, secondID, "a layer")
	for _, key := range []string{"a", sink.PointDir("web01", "container", "web-1", firstID) + "/manifest.json"} {
		if err := s.Delete(t.Context(), key); !errors.Is(err, sink.ErrMayNotRemove) {
			t.Errorf("delete %s: %v", key, err)
		}
	}
	must(t, s.Delete(t.Context(), "none"))
}

func TestCredentials(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{TLS: true})
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	base := oci.Options{Registry: server.Address, Repository: "backups/web", CA: server.CA}.Hasten(10*time.Millisecond, 20*time.Millisecond)
	file := func(content string) string {
		name := filepath.Join(t.TempDir(), "file")
		must(t, os.WriteFile(name, []byte(content+"\n"), 0o600))
		return name
	}
	files := func(user, password string) oci.Options {
		o := base
		o.UserFile, o.PasswordFile = user, password
		return o
	}
	config := func(name string) oci.Options {
		o := base
		o.Config = name
		return o
	}
	stranger := base
	stranger.CA = ""
	for name, c := range map[string]struct {
		options oci.Options
		says    string
	}{
		"files":          {files(server.UserFile, server.PasswordFile), ""},
		"docker login":   {config(server.Config), ""},
		"wrong":          {files(server.UserFile, file("wrong-secret")), "does not let these credentials"},
		"empty":          {files(server.UserFile, file("")), "is empty"},
		"no file":        {files("/none", server.PasswordFile), "/none"},
		"no login":       {config("/none"), "/none"},
		"no json":        {config(file("{")), "credentials cannot be read"},
		"none":           {base, "asks for credentials, and there are none"},
		"no certificate": {stranger, "certificate"},
	} {
		err := upload(t.Context(), open(t, c.options), "a", large())
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.says != "" && (!errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, want that it says %q", name, err, c.says)
		case strings.Contains(fmt.Sprint(err), "secret"):
			t.Errorf("%s: %v holds the password", name, err)
		}
	}
	t.Setenv("DOCKER_CONFIG", filepath.Dir(server.Config))
	must(t, open(t, base).Put(t.Context(), "a", nil))
	password := file("wrong")
	s := open(t, files(server.UserFile, password))
	if err := s.Put(t.Context(), "a", nil); err == nil {
		t.Error("a wrong password is taken")
	}
	must(t, os.WriteFile(password, []byte(ocitest.Password), 0o600))
	must(t, s.Put(t.Context(), "a", nil)) // it was renewed
}

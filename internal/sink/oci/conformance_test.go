package oci_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
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

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
	"holdfast.io/holdfast/internal/sink/oci"
	"holdfast.io/holdfast/internal/sink/oci/ocitest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// All tests but those of the registry's own faults share one.
func TestConformance(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	n := 0
	objecttest.Run(t, func(t *testing.T) objecttest.Place {
		n++
		return newPlace(t, server, fmt.Sprintf("backups/repository-%d", n))
	})
}

func newPlace(t *testing.T, server *ocitest.Server, repository string) *place {
	t.Helper()
	to, err := url.Parse(server.URL)
	must(t, err)
	p := &place{server: server, repository: repository}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	way := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.gone.Load() {
			panic(http.ErrAbortHandler)
		}
		forward.ServeHTTP(w, r)
	}))
	way.Config.ErrorLog = nil
	t.Cleanup(way.Close)
	settle := 20 * time.Millisecond
	if strings.Contains(t.Name(), "one_wins") {
		settle = time.Second // sixteen at a time, on a machine that has other things to do
	}
	p.options = oci.Options{
		Registry: strings.TrimPrefix(way.URL, "http://"), Repository: repository, Endpoint: way.URL,
	}.Hasten(10*time.Millisecond, settle)
	return p
}

// place is a repository, with a way to it that can be cut.
type place struct {
	server     *ocitest.Server
	repository string
	options    oci.Options
	gone       atomic.Bool
}

func (p *place) Open(t *testing.T) object.Store { return open(t, p.options) }

func open(t testing.TB, o oci.Options) *oci.Store {
	t.Helper()
	s, err := oci.New(o)
	must(t, err)
	return s
}

// Caveats implements [objecttest.Lacking].
func (p *place) Caveats() []string { return []string{"the later manifest replaces the first"} }

// get asks the registry itself.
func (p *place) get(t *testing.T, path string) []byte {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.server.URL+"/v2/"+p.repository+path, nil)
	must(t, err)
	r.Header.Set("Accept", v1.MediaTypeImageManifest)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	must(t, err)
	if answer.StatusCode != http.StatusOK {
		return nil
	}
	return content
}

// put stores a manifest at the registry itself.
func (p *place) put(t *testing.T, path string, content []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, p.server.URL+"/v2/"+p.repository+path, bytes.NewReader(content))
	must(t, err)
	r.Header.Set("Content-Type", v1.MediaTypeImageManifest)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode != http.StatusCreated {
		t.Fatalf("put %s: %s", path, answer.Status)
	}
}

func (p *place) Contents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	tags, err := os.ReadDir(filepath.Join(p.server.Repository(p.repository), "_manifests/tags"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, tag := range tags {
		var m v1.Manifest
		raw := p.get(t, "/manifests/"+tag.Name())
		if raw == nil {
			continue // it was removed meanwhile
		}
		must(t, json.Unmarshal(raw, &m))
		key := m.Annotations["io.holdfast.key"]
		if key == "" || strings.HasPrefix(tag.Name(), "holdfast-upload.") {
			key = "the tag " + tag.Name()
		}
		all[key] = m.Layers[0].Digest.String()
		if m.Layers[0].Size < 1<<10 {
			all[key] = string(p.get(t, "/blobs/"+m.Layers[0].Digest.String()))
		}
	}
	uploads, err := filepath.Glob(filepath.Join(p.server.Repository(p.repository), "_uploads", "*", "data"))
	must(t, err)
	for _, u := range uploads {
		all["the upload "+filepath.Base(filepath.Dir(u))] = ""
	}
	return all
}

func (p *place) Clear(t *testing.T) {
	t.Helper()
	err := os.RemoveAll(p.server.Repository(p.repository))
	if err != nil && !os.IsNotExist(err) && !isBusy(err) {
		t.Fatal(err)
	}
}

func isBusy(err error) bool {
	_, ok := err.(*fs.PathError)
	return ok && strings.Contains(err.Error(), "not empty")
}

func (p *place) Vanish(*testing.T) { p.gone.Store(true) }

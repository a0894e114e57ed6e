package docker_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/engine"
)

// answering returns an Engine in whose place a handler answers.
func answering(t *testing.T, handler http.HandlerFunc) *docker.Engine {
	t.Helper()
	dir, err := os.MkdirTemp("", "hf") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: handler}
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-served })
	e, err := docker.Connect("unix://" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	return e
}

// always answers in the same way, but to a ping as an Engine does.
func always(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_ping" {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

const id = "579fc977559b7f87d01b9d8c80c553447ba8c4e6dd52514310a86bfdd1cb6ffc"

func TestAnswers(t *testing.T) {
	page := "<html>\n<body>" + strings.Repeat("nothing ", 1000) + "</body></html>"
	const json = "application/json"
	cases := map[string]struct {
		status int
		kind   string
		body   string
		want   error
		says   string
	}{
		"HAProxy":                    {403, "text/html", page, engine.ErrRefused, "POST /containers/{id}/unpause"},
		"a proxy that hides":         {404, "text/html", page, engine.ErrRefused, "404"},
		"a proxy that hides, bare":   {404, "", "", engine.ErrRefused, "404"},
		"a proxy of methods":         {405, "text/plain", "method not allowed\n", engine.ErrRefused, "method not allowed"},
		"a proxy with a login":       {302, "text/html", page, engine.ErrRefused, "302"},
		"a proxy that wants a name":  {407, "text/html", page, engine.ErrRefused, "407"},
		"an authorization plugin":    {403, json, `{"message":"authorization denied by plugin opa: no"}`, engine.ErrRefused, "plugin opa: no"},
		"an old Engine":              {404, json, `{"message":"page not found"}`, engine.ErrRefused, "page not found"},
		"a web server":               {200, "text/html", page, engine.ErrRefused, "200"},
		"a proxy without its Engine": {502, "text/html", page, engine.ErrEngineUnavailable, "502 Bad Gateway"},
		"a proxy that fails, bare":   {500, "", "", engine.ErrEngineUnavailable, "POST /containers/{id}/unpause is answered 500"},
		"a proxy that fails":         {500, "text/plain", "boom\n", engine.ErrEngineUnavailable, "which is not the Engine's own answer: boom"},
		"a proxy that lacks it":      {501, "text/html", page, engine.ErrEngineUnavailable, "501 Not Implemented"},
		"a proxy that is too busy":   {429, "text/plain", "slow down", engine.ErrEngineUnavailable, "429"},
		"an Engine that lacks it":    {404, json, `{"message":"No such container: x"}`, engine.ErrNotFound, "No such container"},
		"an Engine that is full":     {500, json, `{"message":"write /x: no space left on device"}`, engine.ErrEngineFull, "/x"},
		"an API that is too new": {400, json,
			`{"message":"client version 1.30 is too old. Minimum supported API version is 1.40"}`, engine.ErrUnsupported, "DOCKER_API_VERSION"},
		"an Engine with a long story": {500, json,
			`{"message":"lstat ` + strings.Repeat("d", 4029) + `: no space left on device"}`, engine.ErrEngineFull, "no space left"},
		"an Engine with a bad tongue": {404, json, `{"message":"a\u001b[31mb\nc"}`, engine.ErrNotFound, "a [31mb c"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := answering(t, always(c.status, c.kind, c.body)).Unpause(t.Context(), id)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("it reports %v, want %v with %q", err, c.want, c.says)
			}
			for _, other := range []error{engine.ErrRefused, engine.ErrEngineUnavailable, engine.ErrNotFound, engine.ErrUnsupported} {
				if other != c.want && errors.Is(err, other) {
					t.Errorf("it is %v as well", other)
				}
			}
			if text := err.Error(); len(text) > 700 || strings.ContainsAny(text, "<>\n\x1b") {
				t.Errorf("it says, in %d bytes: %q", len(text), text)
			}
		})
	}
}

// An image that is being removed is not found; one of which a layer is lost is there.
func TestImageThatIsBeingRemoved(t *testing.T) {
	const layerGone = `{"message":"layer does not exist"}`
	for name, c := range map[string]struct {
		second string // the answer
		status int
		gone   bool
	}{
		"removed": {`{"message":"No such image: sha256:` + id + `"}`, http.StatusNotFound, true},
		"damaged": {layerGone, http.StatusInternalServerError, false},
	} {
		for call, ask := range map[string]func(e *docker.Engine) error{
			"inspect": func(e *docker.Engine) error { _, err := e.InspectImage(t.Context(), "sha256:"+id); return err },
			"dangling": func(e *docker.Engine) error {
				images, err := e.Dangling(t.Context())
				if err == nil && len(images) == 0 {
					return engine.ErrNotFound
				}
				return err
			},
		} {
			t.Run(name+" "+call, func(t *testing.T) {
				asked := 0
				e := answering(t, func(w http.ResponseWriter, r *http.Request) {
					switch {
					case strings.HasSuffix(r.URL.Path, "/images/json"):
						always(http.StatusOK, "application/json", `[{"Id":"sha256:`+id+`"}]`)(w, r)
					case !strings.HasPrefix(path.Base(r.URL.Path), "json"):
						always(http.StatusOK, "application/json", "{}")(w, r)
					case asked == 0:
						asked++
						always(http.StatusInternalServerError, "application/json", layerGone)(w, r)
					default:
						always(c.status, "application/json", c.second)(w, r)
					}
				})
				err := ask(e)
				if asked == 0 || err == nil || errors.Is(err, engine.ErrNotFound) != c.gone {
					t.Errorf("it reports %v, want that it is gone: %v", err, c.gone)
				}
			})
		}
	}
}

// A proxy's 404 must not be taken for an image that is gone already.
func TestRemoveImageRefused(t *testing.T) {
	e := answering(t, always(http.StatusNotFound, "text/plain", "404 page not found\n"))
	if err := e.RemoveImage(t.Context(), "holdfast/snapshot:x"); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("it reports %v, want ErrRefused", err)
	}
}

// Podman 4.3.1 cannot take a commit without a body, and answers 500 where it cannot read
// one. What it fails at for another reason it cannot do.
func TestPodman(t *testing.T) {
	e := answering(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Api-Version", "1.41")
		w.Header().Set("Content-Type", "application/json")
		body, _ := io.ReadAll(r.Body)
		fail := func(status int, message string) {
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"cause":"c","message":%q,"response":%d}`, message, status)
		}
		switch call := path.Base(r.URL.Path); {
		case call == "version":
			fmt.Fprint(w, `{"Components":[{"Name":"Podman Engine","Version":"4.3.1"},{"Name":"Conmon"}],"Version":"4.3.1","ApiVersion":"1.41"}`)
		case call == "info":
			fmt.Fprint(w, `{"ID":"fake","Name":"fake","SystemTime":"2026-01-01T00:00:00Z"}`)
		case call == "commit" && len(body) == 0, call == "create" && bytes.Contains(body, []byte("[]")):
			fail(http.StatusInternalServerError, "Decode(): EOF")
		case call == "unpause":
			fail(http.StatusInternalServerError, "no freezer")
		case call == "_ping":
		default:
			fail(http.StatusNotFound, "no container with name or ID found: no such container")
		}
	})
	if err := e.Probe(t.Context(), engine.CallCommit, engine.CallCreateNetwork, engine.CallCreateVolume); err != nil {
		t.Errorf("a probe of what Podman can do reports %v", err)
	}
	err := e.Probe(t.Context(), engine.CallUnpause)
	if !errors.Is(err, engine.ErrUnsupported) || !strings.Contains(err.Error(), "Podman Engine 4.3.1") ||
		!strings.Contains(err.Error(), "no freezer") {
		t.Errorf("a probe of what it cannot do reports %v, want ErrUnsupported", err)
	}
}

// Who answers that he failed has refused nothing.
func TestProbeOfWhatFails(t *testing.T) {
	for _, body := range []string{"", "boom", `{"error":"boom"}`, `{"message":""}`, "<html></html>"} {
		for call, want := range map[engine.Call]string{
			engine.CallSave:        "GET /images/get is answered 500",
			engine.CallRemoveImage: "DELETE /images/{name} is answered 500",
			engine.CallInfo:        "GET /info is answered 500",
		} {
			err := answering(t, always(http.StatusInternalServerError, "text/plain", body)).Probe(t.Context(), call)
			if !errors.Is(err, engine.ErrEngineUnavailable) || errors.Is(err, engine.ErrRefused) || !strings.Contains(err.Error(), want) {
				t.Errorf("a probe that is answered 500 with %q reports %v, want ErrEngineUnavailable with %q", body, err, want)
			}
		}
	}
}

// What answers that something is done which is not there is no Engine.
func TestProbeOfWhatAgreesToAll(t *testing.T) {
	e := answering(t, always(http.StatusOK, "application/json", "{}"))
	if err := e.Probe(t.Context(), engine.CallUnpause); !errors.Is(err, engine.ErrUnsupported) {
		t.Errorf("a probe reports %v, want ErrUnsupported", err)
	}
}

// A probe that succeeded is not repeated for each container of a job, and one that
// failed is.
func TestProbeIsRemembered(t *testing.T) {
	asked, status := 0, http.StatusForbidden
	e := answering(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_ping" {
			w.Header().Set("Api-Version", "1.41")
			return
		}
		asked++
		always(status, "application/json", `{"message":"No such container"}`)(w, r)
	})
	for range 2 {
		if err := e.Probe(t.Context(), engine.CallUnpause); !errors.Is(err, engine.ErrRefused) {
			t.Fatal(err)
		}
	}
	status = http.StatusNotFound
	for range 200 {
		if err := e.Probe(t.Context(), engine.CallUnpause); err != nil {
			t.Fatal(err)
		}
	}
	if asked != 3 {
		t.Errorf("it asked %d times, want 3", asked)
	}
	// A refusal of any call has all of them probed again.
	status = http.StatusForbidden
	if err := e.Stop(t.Context(), id); !errors.Is(err, engine.ErrRefused) {
		t.Fatal(err)
	}
	if err := e.Probe(t.Context(), engine.CallUnpause); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("after a refusal a probe reports %v", err)
	}
}

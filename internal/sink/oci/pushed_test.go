package oci_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/oci/ocitest"
)

// send does what an Engine does at the end of a push, or of a blob.
func send(t *testing.T, method, at, mediaType string, body []byte) http.Header {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, at, bytes.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", mediaType)
	answer, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, answer.Body.Close())
	if answer.StatusCode >= http.StatusMultipleChoices {
		t.Fatalf("%s %s: %s", method, at, answer.Status)
	}
	return answer.Header
}

// sendBlob pushes a blob.
func sendBlob(t *testing.T, repository string, content []byte) string {
	t.Helper()
	at := send(t, http.MethodPost, repository+"/blobs/uploads/", "", nil).Get("Location")
	if strings.HasPrefix(at, "/") {
		host, _, _ := strings.Cut(repository, "/v2/")
		at = host + at
	}
	d := digest.FromBytes(content).String()
	send(t, http.MethodPut, at+"&digest="+d, "application/octet-stream", content)
	return d
}

// What an Engine has pushed is read back, and becomes the sink's, whose garbage collection keeps it; what
// it was pushed as goes, with the attempt or by itself, and a point that is published stays.
func TestPushed(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	s := open(t, plain(server))
	made, err := object.Open(t.Context(), s, "", "layers")
	must(t, err)
	in, ok := sink.RepositoryOf(made)
	if !ok {
		t.Fatal("it lies in no repository")
	}
	repository := server.URL + "/v2/backups/web"
	dir := sink.PointDir("web01", "container", "web-1", firstID)
	layer := []byte("a layer that an Engine has compressed")
	config := sendBlob(t, repository, []byte(`{"rootfs":{}}`))
	blob := sendBlob(t, repository, layer)
	push := func(attempt string) string {
		raw := `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":` +
			`"application/vnd.docker.container.image.v1+json","size":13,"digest":"` + config + `"},"layers":[{"mediaType":` +
			`"application/vnd.docker.image.rootfs.diff.tar.gzip","size":37,"digest":"` + blob + `"}]}`
		ref := in.Reference(dir, attempt)
		send(t, http.MethodPut, repository+"/manifests/"+ref[strings.LastIndexByte(ref, ':')+1:],
			"application/vnd.docker.distribution.manifest.v2+json", []byte(raw))
		return raw
	}
	pushed := push("1")
	if raw, err := in.Manifest(t.Context(), dir, "1"); err != nil || string(raw) != pushed {
		t.Fatalf("the manifest is %q and %v, want %q", raw, err, pushed)
	}
	r, err := in.OpenBlob(t.Context(), blob, 2, 5)
	must(t, err)
	if part, err := io.ReadAll(r); err != nil || string(part) != "layer" {
		t.Errorf("a part of the blob is %q, and %v", part, err)
	}
	must(t, r.Close())
	for i, before := range []bool{false, true} {
		if was, err := in.KeepBlob(t.Context(), blob, int64(len(layer))); err != nil || was != before {
			t.Errorf("%d: it was kept before: %t, %v", i, was, err)
		}
	}
	for _, size := range []int64{1, int64(len(layer)) + 1} {
		if _, err := in.KeepBlob(t.Context(), blob, size); !errors.Is(err, sink.ErrNotFound) {
			t.Errorf("a blob of %d bytes is kept as one of %d: %v", len(layer), size, err)
		}
	}
	if _, err := in.KeepBlob(t.Context(), digest.FromString("none").String(), 4); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("a blob that is not there is kept: %v", err)
	}

	storePoint(t, s, firstID, "another layer")
	must(t, in.Withdraw(t.Context(), dir, "1"))
	must(t, in.Withdraw(t.Context(), dir, "1"))
	if _, err := in.Manifest(t.Context(), dir, "1"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("what was withdrawn is there: %v", err)
	}
	push("2")
	must(t, made.Unstage(t.Context(), dir, "2"))
	if _, err := in.Manifest(t.Context(), dir, "2"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("what a dead attempt has pushed is there: %v", err)
	}
	must(t, server.Collect())
	if got := read(t, s, sink.BlobKey(blob)); got != string(layer) {
		t.Errorf("the layer is %q", got)
	}
	if p := (&place{server: server, repository: "backups/web"}).get(t, "/manifests/"+firstID); len(p) == 0 {
		t.Error("the image of the point is gone")
	}
}

// What the Engine is asked for to see that it reaches this registry is in no other repository.
func TestOwn(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	var own []string
	for _, repository := range []string{"backups/web", "backups/other"} {
		o := plain(server)
		o.Repository = repository
		s := open(t, o)
		_, err := object.Open(t.Context(), s, "", "layers")
		must(t, err)
		ref, err := s.Own(t.Context())
		must(t, err)
		if !strings.HasPrefix(ref, server.Address+"/"+repository+"@sha256:") {
			t.Errorf("it is %s", ref)
		}
		own = append(own, ref[strings.IndexByte(ref, '@'):])
	}
	if own[0] == own[1] {
		t.Error("two repositories have it")
	}
}

// The Engine gets the credentials that the worker has, and no text of them has the secret.
func TestLogin(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{TLS: true})
	o := plain(server)
	o.CA, o.UserFile, o.PasswordFile = server.CA, server.UserFile, server.PasswordFile
	l, err := open(t, o).Login(t.Context())
	must(t, err)
	if l.User != ocitest.User || l.Password != ocitest.Password || strings.Contains(l.String()+l.GoString(), ocitest.Password) {
		t.Errorf("it is %s", l)
	}
}

// What comes when its attempt was swept, and when credentials that may not remove have left it, goes with
// a prune when it is a day old, and nothing else does.
func TestPushedLate(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	s := open(t, plain(server))
	made, err := object.Open(t.Context(), s, "", "layers")
	must(t, err)
	repository := server.URL + "/v2/backups/web"
	config := sendBlob(t, repository, []byte(`{"rootfs":{}}`))
	push := func(tag string) {
		raw := `{"schemaVersion":2,"mediaType":"` + v1.MediaTypeImageManifest + `","config":{"mediaType":"` + v1.MediaTypeImageConfig +
			`","size":13,"digest":"` + config + `"},"layers":[],"annotations":{"tag":"` + tag + `"}}`
		send(t, http.MethodPut, repository+"/manifests/"+tag, v1.MediaTypeImageManifest, []byte(raw))
	}
	at := func(age time.Duration) string {
		return time.Now().UTC().Add(-age).Format("20060102T150405Z") + "-1a0b5fe3"
	}
	old := at(25 * time.Hour)
	dir := sink.PointDir("web01", "container", "web-1", old)
	storePoint(t, s, old, "a layer")
	must(t, made.Unstage(t.Context(), dir, "1"))
	push(sink.SnapshotTag + old + "-1")
	push(sink.SnapshotTag + old + "-2")
	others := []string{sink.SnapshotTag + at(23*time.Hour) + "-1", sink.SnapshotTag + "mine", sink.SnapshotTag + old, "v1"}
	for _, tag := range others {
		push(tag)
	}
	sweeper, ok := sink.As[sink.Sweeper](made)
	if !ok {
		t.Fatal("it is not swept")
	}
	must(t, sweeper.Sweep(t.Context(), sink.PointsName))
	p := &place{server: server, repository: "backups/web"}
	for _, attempt := range []string{"1", "2"} {
		if p.get(t, "/manifests/"+sink.SnapshotTag+old+"-"+attempt) != nil {
			t.Errorf("what has come late of attempt %s is there", attempt)
		}
	}
	for _, tag := range append(others, old) {
		if p.get(t, "/manifests/"+tag) == nil {
			t.Errorf("%s is gone", tag)
		}
	}
}

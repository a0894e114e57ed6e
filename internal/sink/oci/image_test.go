package oci_test

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/registry/remote"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/oci"
	"holdfast.io/holdfast/internal/sink/oci/ocitest"
)

func plain(server *ocitest.Server) oci.Options {
	return oci.Options{Registry: server.Address, Repository: "backups/web", Endpoint: server.URL}.
		Hasten(10*time.Millisecond, 20*time.Millisecond)
}

// artifact is what a manifest of a point says of one.
type artifact struct {
	Key       string `json:"key"`
	MediaType string `json:"mediaType"`
	Digest    string `json:"digest"`
	Size      int64  `json:"size"`
}

// put stores an artifact under a key; a blob under its own.
func put(t *testing.T, s object.Store, key, mediaType string, content []byte) artifact {
	t.Helper()
	d := digest.FromBytes(content)
	if key == "" {
		key = sink.BlobKey(d.String())
	}
	must(t, s.Put(t.Context(), key, content))
	return artifact{key, mediaType, d.String(), int64(len(content))}
}

func descriptor(a artifact) v1.Descriptor {
	return v1.Descriptor{MediaType: a.MediaType, Digest: digest.Digest(a.Digest), Size: a.Size}
}

// storePoint stores a point of the layered format, and returns the manifest of its image.
func storePoint(t *testing.T, s object.Store, id, layer string) []byte {
	t.Helper()
	dir := sink.PointDir("web01", "container", "web-1", id)
	config := put(t, s, "", v1.MediaTypeImageConfig, []byte(`{"rootfs":{}}`))
	content := put(t, s, "", v1.MediaTypeImageLayerZstd, []byte(layer))
	raw, err := json.Marshal(v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: descriptor(config), Layers: []v1.Descriptor{descriptor(content)}})
	must(t, err)
	all := []artifact{
		config, content, put(t, s, "", v1.MediaTypeImageManifest, raw),
		put(t, s, dir+"/1/container.json", "application/json", []byte(`{"of":"`+id+`"}`)),
	}
	manifest, err := json.Marshal(map[string]any{"id": id, "artifacts": all})
	must(t, err)
	must(t, s.PutNew(t.Context(), dir+"/manifest.json", manifest))
	return raw
}

func removePoint(t *testing.T, s object.Store, id string) {
	t.Helper()
	dir := sink.PointDir("web01", "container", "web-1", id)
	for _, name := range []string{"/manifest.json", "/1/container.json"} {
		must(t, s.Delete(t.Context(), dir+name))
	}
}

func read(t *testing.T, s object.Store, key string) string {
	t.Helper()
	r, _, err := s.Open(t.Context(), key, 0, -1, "")
	must(t, err)
	content, err := io.ReadAll(r)
	must(t, err)
	must(t, r.Close())
	return string(content)
}

// blobsOf returns how many blobs a registry has on its disk.
func blobsOf(t *testing.T, server *ocitest.Server) (n int) {
	t.Helper()
	must(t, filepath.WalkDir(filepath.Join(server.Root(), "docker/registry/v2/blobs"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == "data" {
			n++
		}
		return err
	}))
	return n
}

const firstID, secondID = "20261128T045523Z-77a9006b", "20261128T055523Z-0123abcd"

// Two points have one image. Each has its tag; the configuration is found from the image; the registry's
// garbage collection takes nothing of them; and the image goes with the last one.
func TestImage(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	s := open(t, plain(server))
	p := &place{server: server, repository: "backups/web"}
	raw := storePoint(t, s, firstID, "a layer")
	storePoint(t, s, secondID, "a layer")
	must(t, server.Collect())
	for _, id := range []string{firstID, secondID} {
		if got := p.get(t, "/manifests/"+id); string(got) != string(raw) {
			t.Fatalf("at %s is %q, want the manifest of the image", id, got)
		}
		dir := sink.PointDir("web01", "container", "web-1", id)
		if got := read(t, s, dir+"/1/container.json"); !strings.Contains(got, id) {
			t.Errorf("the configuration is %q", got)
		}
	}
	if got := titles(t, server, raw); got["container.json"] != 2 || got[digest.FromString("a layer").Encoded()] != 2 {
		t.Errorf("the image leads to %v", got)
	}
	removePoint(t, s, firstID)
	must(t, server.Collect())
	if p.get(t, "/manifests/"+firstID) != nil {
		t.Error("a point that is gone has its tag")
	}
	if got := p.get(t, "/manifests/"+secondID); string(got) != string(raw) {
		t.Fatalf("the image of the other point is %q", got)
	}
	removePoint(t, s, secondID)
	for entry, err := range s.List(t.Context(), "blobs/") {
		must(t, err)
		must(t, s.Delete(t.Context(), entry.Key))
	}
	must(t, server.Collect())
	if left := blobsOf(t, server); left > 0 {
		t.Errorf("%d blobs are left when all was removed", left)
	}
}

// titles returns what the artifacts name that refer to an image.
func titles(t *testing.T, server *ocitest.Server, image []byte) map[string]int {
	t.Helper()
	repo, err := remote.NewRepository(server.Address + "/backups/web")
	must(t, err)
	repo.PlainHTTP = true
	all := map[string]int{}
	of := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: digest.FromBytes(image), Size: int64(len(image))}
	must(t, repo.Referrers(t.Context(), of, oci.ArtifactType, func(found []v1.Descriptor) error {
		for _, f := range found {
			_, r, err := repo.FetchReference(t.Context(), f.Digest.String())
			if err != nil {
				return err
			}
			var m v1.Manifest
			if err := json.NewDecoder(r).Decode(&m); err != nil {
				return err
			}
			for _, l := range m.Layers {
				all[l.Annotations[v1.AnnotationTitle]]++
			}
		}
		return nil
	}))
	return all
}

// An attempt that died before its point was there has put the image: whoever undoes it removes that.
func TestImageOfNoPoint(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	s := open(t, plain(server))
	p := &place{server: server, repository: "backups/web"}
	storePoint(t, s, firstID, "a layer")
	dir := sink.PointDir("web01", "container", "web-1", firstID)
	must(t, s.Sweep(t.Context(), dir+"/1/"))
	if p.get(t, "/manifests/"+firstID) == nil {
		t.Fatal("the image of a point is swept")
	}
	f := p.get(t, "/manifests/"+firstID)
	must(t, s.Delete(t.Context(), dir+"/manifest.json"))
	p.put(t, "/manifests/"+firstID, f)
	must(t, s.Sweep(t.Context(), dir+"/1/"))
	if p.get(t, "/manifests/"+firstID) != nil {
		t.Error("the image of no point is left")
	}
}

// Who finds the point there leaves its tag as it is, whatever its own image is.
func TestImageOfTheFirst(t *testing.T) {
	server := ocitest.Start(t, ocitest.Options{})
	s := open(t, plain(server))
	p := &place{server: server, repository: "backups/web"}
	raw := storePoint(t, s, firstID, "a layer")
	other := storePoint(t, s, secondID, "another layer")
	key := sink.PointDir("web01", "container", "web-1", firstID) + "/manifest.json"
	late := fmt.Appendf(nil, `{"artifacts": [{"mediaType": %q, "digest": %q, "size": %d}]}`, v1.MediaTypeImageManifest,
		digest.FromBytes(other), len(other))
	if err := s.PutNew(t.Context(), key, late); err == nil {
		t.Error("the point was replaced")
	}
	if got := p.get(t, "/manifests/"+firstID); string(got) != string(raw) {
		t.Errorf("the image is %q", got)
	}
	for _, manifest := range []string{
		`[]`, `{"artifacts": 1}`, `{"artifacts": [{"digest": "sha256:x", "size": 1}, {"mediaType": "x", "size": -1}]}`,
	} {
		must(t, s.PutNew(t.Context(), sink.PointDir("h", "container", "n", digest.FromString(manifest).Encoded())+"/manifest.json", []byte(manifest)))
	}
}

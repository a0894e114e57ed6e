package archive_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
)

// image is an image archive that a test builds: what docker save writes.
type image struct {
	imageID string
	entries []tar.Header
	bodies  [][]byte
}

func (a *image) add(h tar.Header, body []byte) {
	h.Size, h.Mode = int64(len(body)), 0o644
	a.entries = append(a.entries, h)
	a.bodies = append(a.bodies, body)
}

func (a *image) file(name string, body []byte) {
	a.add(tar.Header{Name: name, Typeflag: tar.TypeReg}, body)
}

func (a *image) link(name, target string) {
	a.add(tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target}, nil)
}

// blob adds a file that is named by its digest, and returns the digest in hex.
func (a *image) blob(body []byte) string {
	digest := sha256Hex(body)
	a.file("blobs/sha256/"+digest, body)
	return digest
}

// replace gives an entry another body.
func (a *image) replace(name string, body []byte) {
	i := a.index(name)
	a.entries[i].Size, a.bodies[i] = int64(len(body)), body
}

// remove leaves an entry out.
func (a *image) remove(name string) {
	i := a.index(name)
	a.entries = append(a.entries[:i], a.entries[i+1:]...)
	a.bodies = append(a.bodies[:i], a.bodies[i+1:]...)
}

// index returns where an entry is. That there is none is the test's fault.
func (a *image) index(name string) int {
	for i, h := range a.entries {
		if h.Name == name {
			return i
		}
	}
	panic("the archive has no entry " + name)
}

// bytes returns the archive as a tar stream, ended by its end mark.
func (a *image) bytes(tb testing.TB) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i, h := range a.entries {
		if err := w.WriteHeader(&h); err != nil {
			tb.Fatal(err)
		}
		if _, err := w.Write(a.bodies[i]); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// layers are the layers of every archive here.
var layers = [][]byte{[]byte("the base layer"), []byte("the layer that the commit made")}

// shapes are the three shapes of archives that Engines write.
var shapes = map[string]func() *image{
	"classic before Engine 25": classicArchive,
	"classic store, OCI":       ociArchive,
	"containerd store":         containerdArchive,
	"Podman":                   podmanArchive,
}

// classicArchive is what Engines before 25 write. The second of two layers that
// are the same is a link to the first.
func classicArchive() *image {
	a := &image{}
	config := imageConfig(layers[0], layers[1], layers[0])
	digest := sha256Hex(config)
	a.file("one/layer.tar", layers[0])
	a.file("one/json", []byte(`{"id":"one"}`))
	a.file("two/layer.tar", layers[1])
	a.link("three/layer.tar", "../one/layer.tar")
	a.file(digest+".json", config)
	a.file("manifest.json", manifest(digest+".json", "one/layer.tar", "two/layer.tar", "three/layer.tar"))
	a.imageID = "sha256:" + digest
	return a
}

// podmanArchive is what Podman writes: layers named by their diff ids, and links to them by the
// names that they had before.
func podmanArchive() *image {
	a := &image{}
	config := imageConfig(layers...)
	digest := sha256Hex(config)
	var names []string
	for i, l := range layers {
		name := sha256Hex(l) + ".tar"
		a.file(name, l)
		a.link(fmt.Sprint("layer-", i, "/layer.tar"), "../"+name)
		names = append(names, name)
	}
	a.file(digest+".json", config)
	a.file("manifest.json", manifest(digest+".json", names...))
	a.imageID = "sha256:" + digest
	return a
}

// ociArchive is what the classic store writes since Engine 25. The image is
// named by its configuration.
func ociArchive() *image {
	a := &image{}
	config := a.blob(imageConfig(layers...))
	var names []string
	for _, l := range layers {
		names = append(names, "blobs/sha256/"+a.blob(l))
	}
	a.describe(config, names)
	a.imageID = "sha256:" + config
	return a
}

// containerdArchive is what the containerd store writes. Its layers are
// compressed, and the image is named by its manifest.
func containerdArchive() *image {
	a := &image{}
	config := a.blob(imageConfig(layers...))
	var names []string
	for _, l := range layers {
		names = append(names, "blobs/sha256/"+a.blob(gzipped(l)))
	}
	a.imageID = "sha256:" + a.describe(config, names)
	return a
}

// describe adds the documents of an OCI layout, and returns the digest of the
// image's manifest in hex.
func (a *image) describe(config string, layers []string) string {
	digest := a.blob(encode(map[string]any{"schemaVersion": 2, "config": descriptor(config), "layers": len(layers)}))
	a.file("index.json", encode(map[string]any{"schemaVersion": 2, "manifests": []any{descriptor(digest)}}))
	a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	a.file("manifest.json", manifest("blobs/sha256/"+config, layers...))
	return digest
}

func manifest(config string, layers ...string) []byte {
	return encode([]any{map[string]any{"Config": config, "RepoTags": nil, "Layers": layers}})
}

func imageConfig(layers ...[]byte) []byte {
	var ids []string
	for _, l := range layers {
		ids = append(ids, "sha256:"+sha256Hex(l))
	}
	return encode(map[string]any{"os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}})
}

func descriptor(digest string) map[string]any { return map[string]any{"digest": "sha256:" + digest} }

func gzipped(b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	if err := errors.Join(err, w.Close()); err != nil {
		panic(fmt.Sprintf("compress a layer in memory: %v", err))
	}
	return out.Bytes()
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %v: %v", v, err))
	}
	return b
}

func sha256Hex(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

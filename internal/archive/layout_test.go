package archive_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/archive"
)

// layersOf are plain layers.
func layersOf(texts ...string) (parts []archive.Part) {
	for _, text := range texts {
		parts = append(parts, archive.Part{DiffID: digest.FromString(text).String(), Size: int64(len(text)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(text)), nil }})
	}
	return parts
}

// filesOf returns the files of an archive, and their names in order.
func filesOf(t *testing.T, r io.Reader) (files map[string]string, names []string) {
	t.Helper()
	files = map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return files, names
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		if files[h.Name] = string(raw); slices.Contains(names, h.Name) {
			t.Errorf("%s is there twice", h.Name)
		}
		names = append(names, h.Name)
	}
}

func blobOf(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }

func decode(t *testing.T, raw string, into any) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), into); err != nil {
		t.Fatalf("%v in %q", err, raw)
	}
}

// A layout has the blobs that are sent, under their digests, and names those that are not.
func TestLayout(t *testing.T) {
	kept := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromString("packed"), Size: 6}
	p := archive.Parts{Config: []byte(`{"rootfs":{}}`), Reference: "repo:tag", Layers: layersOf("base", "twice", "top", "twice")}
	p.ConfigDigest = digest.FromBytes(p.Config).String()
	p.Layers[0].Open, p.Layers[0].Kept = nil, kept
	r := archive.Layout(p)
	defer r.Close()
	files, _ := filesOf(t, r)
	var index v1.Index
	decode(t, files["index.json"], &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/repo:tag" {
		t.Fatalf("the index is %s", files["index.json"])
	}
	var m v1.Manifest
	top := index.Manifests[0].Digest
	decode(t, files[blobOf(top)], &m)
	if len(m.Layers) != 4 || m.Layers[0].Digest != kept.Digest || m.Layers[0].Size != kept.Size || m.Layers[0].MediaType != kept.MediaType {
		t.Errorf("the layers are %+v", m.Layers)
	}
	if len(files) != 2+2+2 { // layout and index, manifest and configuration, two layers
		t.Errorf("it has %d files", len(files))
	}
	for _, d := range append([]v1.Descriptor{m.Config, index.Manifests[0]}, m.Layers[1:]...) {
		if raw, ok := files[blobOf(d.Digest)]; !ok || digest.FromString(raw) != d.Digest || int64(len(raw)) != d.Size {
			t.Errorf("blob %+v is %q", d, raw)
		}
	}
}

// A layer that has another size, or cannot be read, ends the layout with an error.
func TestLayoutFails(t *testing.T) {
	broken := errors.New("broken")
	for want, harm := range map[error]func(l *archive.Part){
		archive.ErrCorrupt: func(l *archive.Part) { l.Size++ },
		broken:             func(l *archive.Part) { l.Open = func() (io.ReadCloser, error) { return nil, broken } },
	} {
		p := archive.Parts{ConfigDigest: digest.FromString("{}").String(), Config: []byte("{}"), Layers: layersOf("base", "top")}
		harm(&p.Layers[1])
		r := archive.Layout(p)
		if _, err := io.ReadAll(r); !errors.Is(err, want) {
			t.Errorf("the error is %v, want %v", err, want)
		}
		r.Close()
	}
}

// The lowest layers are left out of a classic archive, but for one that comes again above.
func TestJoinWithoutLowest(t *testing.T) {
	p := archive.Parts{ConfigDigest: digest.FromString("{}").String(), Config: []byte("{}"), Layers: layersOf("base", "twice", "top", "twice")}
	p.Layers[0].Open, p.Layers[1].Open = nil, nil
	r := archive.Join(p)
	defer r.Close()
	files, names := filesOf(t, r)
	var m []struct{ Layers []string }
	decode(t, files["manifest.json"], &m)
	if len(m) != 1 || len(m[0].Layers) != 4 || m[0].Layers[1] != m[0].Layers[3] {
		t.Fatalf("the manifest is %s", files["manifest.json"])
	}
	if _, sent := files[m[0].Layers[0]]; sent || files[m[0].Layers[2]] != "top" || files[m[0].Layers[3]] != "twice" {
		t.Errorf("it has %q", names)
	}
}

// A question names all blobs and has none. Equal lists have one manifest.
func TestQuestion(t *testing.T) {
	blob := func(text string) v1.Descriptor {
		return archive.PlainBlob(digest.FromString(text).String(), int64(len(text)))
	}
	a, b := blob("a"), blob("b")
	raw, manifests, err := archive.Question("repo:tag", [][]v1.Descriptor{{a, b}, {a, b}, {a}})
	if err != nil || len(manifests) != 3 || manifests[0] != manifests[1] || manifests[0] == manifests[2] {
		t.Fatalf("the manifests are %q, %v", manifests, err)
	}
	files, _ := filesOf(t, bytes.NewReader(raw))
	var index, inner v1.Index
	decode(t, files["index.json"], &index)
	decode(t, files[blobOf(index.Manifests[0].Digest)], &inner)
	if len(inner.Manifests) != 2 {
		t.Fatalf("it has the manifests %+v", inner.Manifests)
	}
	for i, want := range [][]v1.Descriptor{{a, b}, {a}} {
		var m v1.Manifest
		decode(t, files[blobOf(inner.Manifests[i].Digest)], &m)
		if len(m.Layers) != len(want) || m.Layers[0].Digest != a.Digest || inner.Manifests[i].Platform.OS != "none" {
			t.Errorf("manifest %d is %+v", i, m)
		}
		for _, l := range m.Layers {
			if _, sent := files[blobOf(l.Digest)]; sent {
				t.Errorf("the blob %s is sent", l.Digest)
			}
		}
	}
}

package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/image"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"
)

// deep REF LAYERS makes an image of that many layers.
func cmdDeep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: deep REF LAYERS")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	var files []string
	for i := range n {
		files = append(files, fmt.Sprint("layer-", i))
	}
	loadLayers(ts, args[0], files, shape{})
}

// layers REF FILE ... makes an image with a layer for each file, which has that file alone; a
// layer for - has none. With -twin before it the image is of two platforms, where an Engine
// keeps such. With -foreign its first layer is one that registries do not have: an Engine does
// not push it, but names where it is to be had.
func cmdLayers(ts *testscript.TestScript, neg bool, args []string) {
	var s shape
	for ; len(args) > 0 && strings.HasPrefix(args[0], "-"); args = args[1:] {
		s.twin = s.twin || args[0] == "-twin"
		s.foreign = s.foreign || args[0] == "-foreign"
	}
	if neg || len(args) < 2 {
		ts.Fatalf("usage: layers [-twin] [-foreign] REF FILE ...")
	}
	loadLayers(ts, args[0], args[1:], s)
}

// shape is how an image differs from others.
type shape struct{ twin, foreign bool }

func loadLayers(ts *testscript.TestScript, ref string, files []string, s shape) {
	e := must(ts, engineOnce)
	raw, err := layersImage(ref, ts.Getenv("P"), files, s)
	ts.Check(err)
	ts.Defer(func() { _, _ = e.api.ImageRemove(context.Background(), ref, image.RemoveOptions{Force: true}) })
	loaded, err := e.api.ImageLoad(context.Background(), bytes.NewReader(raw))
	ts.Check(err)
	defer loaded.Body.Close()
	_, err = io.Copy(io.Discard, loaded.Body)
	ts.Check(err)
}

// layersImage is an archive that a classic store loads by its manifest.json, and a containerd
// store by its index.json. What is made of the image has the label of the script.
func layersImage(ref, script string, files []string, s shape) ([]byte, error) {
	a := imageArchive{blobs: map[digest.Digest]bool{}, script: script}
	a.tar = tar.NewWriter(&a.buffer)
	var layers []v1.Descriptor
	for _, file := range files {
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		if file != "-" {
			a.put(w, file, []byte("of "+file))
		}
		a.note(w.Close())
		layers = append(layers, a.blob(v1.MediaTypeImageLayer, layer.Bytes()))
	}
	sources := map[digest.Digest]v1.Descriptor{} // what a classic store is told of foreign layers
	if s.foreign {
		layers[0].MediaType = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
		layers[0].URLs = []string{"https://layers.invalid/first"}
		sources[layers[0].Digest] = layers[0]
	}
	architectures := []string{runtime.GOARCH}
	if s.twin {
		architectures = append(architectures, "s390x")
	}
	index := v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex}
	for _, architecture := range architectures {
		index.Manifests = append(index.Manifests, a.image(architecture, layers))
	}
	top := index
	if s.twin {
		top.Manifests = []v1.Descriptor{a.blob(v1.MediaTypeImageIndex, a.json(index))}
	}
	top.Manifests[0].Annotations = map[string]string{"io.containerd.image.name": "docker.io/library/" + ref}
	var saved []string
	for _, l := range layers {
		saved = append(saved, blobPath(l.Digest))
	}
	for name, document := range map[string]any{
		"manifest.json":    []map[string]any{{"Config": blobPath(a.config), "RepoTags": []string{ref}, "Layers": saved, "LayerSources": sources}},
		v1.ImageIndexFile:  top,
		v1.ImageLayoutFile: v1.ImageLayout{Version: v1.ImageLayoutVersion},
	} {
		a.put(a.tar, name, a.json(document))
	}
	a.note(a.tar.Close())
	return a.buffer.Bytes(), a.err
}

// imageArchive is an archive that is written. It keeps the first error.
type imageArchive struct {
	buffer bytes.Buffer
	tar    *tar.Writer
	blobs  map[digest.Digest]bool
	script string        // the label of the images
	config digest.Digest // of the first image
	err    error
}

// image adds an image of these layers.
func (a *imageArchive) image(architecture string, layers []v1.Descriptor) v1.Descriptor {
	c := v1.Image{Platform: v1.Platform{Architecture: architecture, OS: "linux"},
		Config: v1.ImageConfig{Cmd: []string{"/none"}, Labels: map[string]string{scriptLabel: a.script}},
		RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	for _, l := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.Digest)
	}
	config := a.blob(v1.MediaTypeImageConfig, a.json(c))
	if a.config == "" {
		a.config = config.Digest
	}
	m := a.blob(v1.MediaTypeImageManifest, a.json(v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest, Config: config, Layers: layers}))
	m.Platform = &c.Platform
	return m
}

func (a *imageArchive) blob(mediaType string, raw []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: mediaType, Digest: digest.Digest(fmt.Sprintf("sha256:%x", sha256.Sum256(raw))), Size: int64(len(raw))}
	if !a.blobs[d.Digest] {
		a.blobs[d.Digest] = true
		a.put(a.tar, blobPath(d.Digest), raw)
	}
	return d
}

func blobPath(d digest.Digest) string { return "blobs/sha256/" + d.Encoded() }

func (a *imageArchive) json(v any) []byte {
	raw, err := json.Marshal(v)
	a.note(err)
	return raw
}

func (a *imageArchive) put(w *tar.Writer, name string, content []byte) {
	a.note(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}))
	_, err := w.Write(content)
	a.note(err)
}

func (a *imageArchive) note(err error) {
	if a.err == nil {
		a.err = err
	}
}

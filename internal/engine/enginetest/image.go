package enginetest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"holdfast.io/holdfast/internal/engine"
)

// image is an image as the classic store keeps it: named by its configuration.
type image struct {
	id         string
	config     []byte
	layers     [][]byte          // tar archives, the base first
	manifests  map[string][]blob // of a containerd store, by their digests
	references []string
	digests    []string // under which registries have it: repository@sha256:…
	comment    string
	labels     map[string]string
	parent     string // the id of the image that it is based on; empty for none
}

// config is what of an image's configuration matters here.
type config struct {
	Architecture string   `json:"architecture"`
	OS           string   `json:"os"`
	Comment      string   `json:"comment,omitempty"`
	Container    string   `json:"container,omitempty"`
	Config       struct{} `json:"config"`
	RootFS       rootFS   `json:"rootfs"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

// AddImage makes an image of one small layer.
func (f *Fake) AddImage(references ...string) (id string) {
	return f.AddLargeImage(0, references...)
}

// AddLargeImage makes an image of one layer of at least so many bytes.
func (f *Fake) AddLargeImage(size int, references ...string) (id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	layer := tarOf(map[string][]byte{"base": []byte(f.newID("layer")), "large": make([]byte, size)})
	img := f.addImage([][]byte{layer}, config{})
	for _, ref := range references {
		f.tag(img, ref)
	}
	return img.id
}

// SetDigests says under which digests registries have an image, repository@sha256:…: it was
// pulled or pushed. It panics if there is no such image.
func (f *Fake) SetDigests(id string, digests ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images[id].digests = digests
}

// LoseImage removes an image though containers were made from it, as docker rmi -f
// does. It panics if there is no such image.
func (f *Fake) LoseImage(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.images, f.findImage(name).id)
}

// SetImageLabels gives an image labels, which containers that are made from it
// after that inherit. It panics if there is no such image.
func (f *Fake) SetImageLabels(id string, labels map[string]string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.images[id].labels = maps.Clone(labels)
}

// Tag gives an image one more reference. It panics if there is no such image.
func (f *Fake) Tag(id, ref string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tag(f.images[id], ref)
}

// References returns all references on the Engine, in order.
func (f *Fake) References() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, img := range f.images {
		all = append(all, img.references...)
	}
	slices.Sort(all)
	return all
}

// Comments returns the comments that the images were committed with, in order.
func (f *Fake) Comments() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []string
	for _, img := range f.images {
		if img.comment != "" {
			all = append(all, img.comment)
		}
	}
	slices.Sort(all)
	return all
}

// Images implements [engine.Inventory].
func (f *Fake) Images(ctx context.Context) ([]engine.Image, error) {
	if _, err := f.begin(ctx, Images, ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []engine.Image
	for _, img := range f.images { // in any order
		list = append(list, engine.Image{ID: img.id, References: slices.Clone(img.references), Digests: slices.Clone(img.digests)})
	}
	return list, nil
}

// InspectImage implements [engine.Images].
func (f *Fake) InspectImage(ctx context.Context, name string) (*engine.ImageDetail, error) {
	if _, err := f.begin(ctx, InspectImage, name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImage(name)
	if img == nil {
		return nil, noImage(name)
	}
	d := &engine.ImageDetail{ID: img.id, References: slices.Clone(img.references), Digests: slices.Clone(img.digests),
		Labels: maps.Clone(img.labels), Config: mustJSON(map[string]any{"Labels": img.labels})}
	for _, layer := range img.layers {
		d.Size += int64(len(layer))
		d.DiffIDs = append(d.DiffIDs, digest(layer))
	}
	return d, nil
}

// Dangling implements [engine.Images].
func (f *Fake) Dangling(ctx context.Context) ([]engine.DanglingImage, error) {
	if _, err := f.begin(ctx, Dangling, ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	var list []engine.DanglingImage
	for _, img := range f.images { // in any order
		if len(img.references) == 0 && !f.hasChild(img) {
			list = append(list, engine.DanglingImage{ID: img.id, Comment: img.comment})
		}
	}
	return list, nil
}

// Save implements [engine.Images].
func (f *Fake) Save(ctx context.Context, id string) (io.ReadCloser, error) {
	fault, err := f.begin(ctx, Save, id)
	if err != nil {
		return nil, err
	}
	if err := fault.midst(ctx); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.images[id]
	if img == nil {
		return nil, noImage(id)
	}
	return &saveStream{ctx: ctx, engine: f, rest: img.archive(), fault: fault}, nil
}

// saveStream is the stream of a save, and what goes wrong with it.
type saveStream struct {
	ctx    context.Context //nolint:containedctx // a reader has no other place for it
	engine *Fake
	rest   []byte
	sent   int
	fault  Fault
}

func (s *saveStream) Read(p []byte) (int, error) {
	if s.ctx.Err() != nil {
		return 0, context.Cause(s.ctx)
	}
	if s.fault.Cut > 0 {
		left := s.fault.Cut - s.sent
		if left == 0 {
			return 0, s.broken()
		}
		p = p[:min(len(p), left)]
	}
	if len(s.rest) == 0 || s.engine.isAway() {
		return 0, io.EOF
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	s.sent += n
	return n, nil
}

// broken is how the stream ends where it is cut.
func (s *saveStream) broken() error {
	if s.fault.Hang {
		<-s.ctx.Done()
		return context.Cause(s.ctx)
	}
	if s.fault.Err != nil {
		return s.fault.Err
	}
	return io.EOF
}

func (s *saveStream) Close() error { return nil }

// RemoveImage implements [engine.Images].
func (f *Fake) RemoveImage(ctx context.Context, ref string) error {
	fault, err := f.begin(ctx, RemoveImage, ref)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	img := f.findImage(ref)
	if img == nil {
		return fault.late()
	}
	left := slices.DeleteFunc(slices.Clone(img.references), func(r string) bool { return r == ref || img.id == ref })
	if len(left) == 0 && f.used(img.id) {
		return fmt.Errorf("%w: a container was made from %s", engine.ErrInUse, ref)
	}
	needed := f.hasChild(img) && (img.id != ref || !f.streams)
	if img.id == ref && needed {
		return fmt.Errorf("%w: an image is based on %s", engine.ErrInUse, ref)
	}
	if img.references = left; len(left) == 0 && !needed {
		delete(f.images, img.id)
	}
	return fault.late()
}

func noImage(name string) error { return fmt.Errorf("%w: image %s", engine.ErrNotFound, name) }

// The methods below are called with the lock held.

// findImage returns the image with this id or reference, or nil.
func (f *Fake) findImage(name string) *image {
	for _, img := range f.images {
		if img.id == name || slices.Contains(img.references, name) {
			return img
		}
	}
	return nil
}

// used reports whether a container was made from the image.
func (f *Fake) used(id string) bool {
	for _, c := range f.containers {
		if c.image == id {
			return true
		}
	}
	return false
}

// hasChild reports whether another image was committed from a container of this one.
func (f *Fake) hasChild(parent *image) bool {
	for _, img := range f.images {
		if img.parent == parent.id {
			return true
		}
	}
	return false
}

// commit makes an image of a container: the layers of its image, and one of what
// was written since.
func (f *Fake) commit(c *container, o engine.CommitOptions) (id string) {
	layers := append(slices.Clone(c.layers), tarOf(c.files))
	img := f.addImage(layers, config{Comment: o.Comment, Container: c.id})
	img.comment, img.parent, img.labels = o.Comment, c.image, maps.Clone(c.Labels)
	f.tag(img, o.Reference)
	return img.id
}

func (f *Fake) addImage(layers [][]byte, c config) *image {
	f.made++
	c.Architecture, c.OS = "amd64", fmt.Sprintf("fake %s %d", f.name, f.made)
	c.RootFS.Type = "layers"
	for _, layer := range layers {
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, digest(layer))
	}
	img := &image{config: mustJSON(c), layers: layers}
	img.id = digest(img.config)
	if f.streams {
		img.manifest(packed)
	}
	f.images[img.id] = img
	return img
}

// tag moves a reference to an image.
func (f *Fake) tag(img *image, ref string) {
	for _, other := range f.images {
		other.references = slices.DeleteFunc(other.references, func(r string) bool { return r == ref })
	}
	img.references = append(img.references, ref)
}

// archive is the image as docker save writes it for an id: without references.
func (img *image) archive() []byte {
	if img.manifests != nil {
		return img.layout()
	}
	configName := img.id[len("sha256:"):] + ".json"
	files := map[string][]byte{configName: img.config}
	var names []string
	for i, layer := range img.layers {
		name := fmt.Sprintf("%064x/layer.tar", len(img.layers)-i) // the names tell nothing of the order of layers
		names = append(names, name)
		files[name] = layer
	}
	files["manifest.json"] = mustJSON([]map[string]any{{"Config": configName, "RepoTags": nil, "Layers": names}})
	return tarOf(files)
}

// tarOf archives files in the order of their names.
func tarOf(files map[string][]byte) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		must(w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(files[name]))}))
		_, err := w.Write(files[name])
		must(err)
	}
	must(w.Close())
	return b.Bytes()
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	must(err)
	return b
}

// must is for what cannot fail in memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

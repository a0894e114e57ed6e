package enginetest

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	ocidigest "github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
)

// taken is an image that was saved, in parts, and as which blobs the Engine has its layers.
type taken struct {
	archive.Parts
	blobs []v1.Descriptor
}

// layerTaker keeps the layers of an archive.
type layerTaker struct {
	plain  map[string][]byte // by diff id
	digest map[string]string // in the archive, by diff id
}

func (l *layerTaker) Next(digest string, _ int64) (archive.Layer, error) {
	return &takenLayer{of: l, digest: digest}, nil
}

type takenLayer struct {
	bytes.Buffer
	of     *layerTaker
	digest string
}

func (*takenLayer) Abort() {}

func (l *takenLayer) End(diffID string) error {
	l.of.plain[diffID], l.of.digest[diffID] = l.Bytes(), l.digest
	return nil
}

// take saves an image that gets a reference when it is loaded.
func (t *test) take(id, reference string) taken {
	t.Helper()
	raw := t.archive(id)
	layers := &layerTaker{map[string][]byte{}, map[string]string{}}
	info, err := archive.Split(bytes.NewReader(raw), id, layers)
	t.must(err)
	sizes := map[string]int64{}
	for tr := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		t.must(err)
		sizes[h.Name] = h.Size
	}
	all := taken{Parts: archive.Parts{ConfigDigest: info.ConfigDigest, Config: info.Config, Reference: reference}}
	for _, d := range info.DiffIDs {
		plain := layers.plain[d]
		all.Layers = append(all.Layers, archive.Part{DiffID: d, Size: int64(len(plain)),
			Open: func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(plain)), nil }})
		in := layers.digest[d]
		all.blobs = append(all.blobs, v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: ocidigest.Digest(in),
			Size: sizes["blobs/sha256/"+strings.TrimPrefix(in, "sha256:")]})
	}
	return all
}

// without is the image without its lowest layers, as this kind of Engine takes it.
func (i taken) without(n int, kind engine.Leaves) io.ReadCloser {
	i.Layers = slices.Clone(i.Layers)
	for l := range n {
		i.Layers[l].Open, i.Layers[l].Kept = nil, i.blobs[l]
	}
	if kind == engine.LeavesBlobs {
		return archive.Layout(i.Parts)
	}
	return archive.Join(i.Parts)
}

// based is an image that is gone from the Engine, of one layer more than another that is
// there; the container of which it was made is removed.
func (t *test) based() (whole taken, baseRef string, kind engine.Leaves) {
	t.Helper()
	about, err := t.About(t.ctx)
	t.must(err)
	baseRef = t.name("image") + ":v1"
	t.MakeImage(t, baseRef)
	id := t.running(Spec{Image: baseRef})
	t.Write(t, id, "/written", "since")
	ref, snapshot := t.snapshot(id, false)
	whole = t.take(snapshot, t.name("part")+":v1")
	t.must(t.Bench.RemoveContainer(t.ctx, id))
	t.must(t.Bench.RemoveImage(t.ctx, ref))
	t.wantNoImage(ref)
	return whole, baseRef, about.Leaves
}

func (t *test) wantContent(name string, want bool) {
	t.Helper()
	content, err := t.Content(t.ctx, name)
	t.must(err)
	if len(content) != 1 {
		t.Errorf("image %s has the manifests %v", name, content)
	}
	for manifest, has := range content {
		if has != want {
			t.Errorf("that %s is complete: %v, want %v", manifest, has, want)
		}
	}
}

// An image is whole of which only that is sent which the Engine does not have.
func (s *suite) loadPart(tt *testing.T) {
	t := s.begin(tt)
	whole, _, kind := t.based()
	n := len(whole.Layers) - 1
	if n < 1 {
		t.Fatalf("the image has %d layers", len(whole.Layers))
	}
	if kind == engine.LeavesNothing {
		_, err := t.Load(t.ctx, whole.without(n, kind))
		if err == nil {
			t.Error("it takes an archive without layers")
		}
		if _, err := t.Content(t.ctx, whole.Reference); !errors.Is(err, engine.ErrUnsupported) {
			t.Errorf("that it does not say what an image lacks is %v", err)
		}
		return
	}
	if kind == engine.LeavesBlobs {
		t.ask(whole)
	}
	id, err := t.Load(t.ctx, whole.without(n, kind))
	t.must(err)
	t.removeAtEnd(id)
	img, err := t.InspectImage(t.ctx, whole.Reference)
	t.must(err)
	var want []string
	for _, l := range whole.Layers {
		want = append(want, l.DiffID)
	}
	if img.ID != id || !slices.Equal(img.DiffIDs, want) {
		t.Errorf("loaded is %+v as %s, want the layers %q", img, id, want)
	}
	if kind == engine.LeavesBlobs {
		t.wantContent(whole.Reference, true)
	}
	if info := t.checkArchive(id); info.ConfigDigest != whole.ConfigDigest || !slices.Equal(info.DiffIDs, want) {
		t.Errorf("saved again it is %+v", info)
	}
}

// ask asks an Engine that keeps blobs for those that it has and for one that nobody has.
func (t *test) ask(whole taken) {
	t.Helper()
	name := t.name("question") + ":v1"
	var lists [][]v1.Descriptor
	for _, b := range append(slices.Clone(whole.blobs), archive.PlainBlob(digestOf("nothing"), 7)) {
		lists = append(lists, []v1.Descriptor{b})
	}
	lists = append(lists, []v1.Descriptor{whole.blobs[0], lists[len(lists)-1][0]})
	question, manifests, err := archive.Question(name, lists)
	t.must(err)
	_, err = t.Load(t.ctx, bytes.NewReader(question))
	t.must(err)
	content, err := t.Content(t.ctx, name)
	t.must(err)
	for i, m := range manifests[:len(whole.blobs)-1] { // the last layer's went with the image
		if !content[m] {
			t.Errorf("the Engine is to have no blob %+v: %v", whole.blobs[i], content)
		}
	}
	if content[manifests[len(manifests)-1]] || content[manifests[len(manifests)-2]] || len(content) != len(manifests) {
		t.Errorf("the Engine says that it has %v", content)
	}
	t.must(t.Bench.RemoveImage(t.ctx, name))
	t.wantNoImage(name)
}

func digestOf(text string) string { return ocidigest.FromString(text).String() }

// Where the Engine lacks what was left out, it says so, at the load or when it is asked.
func (s *suite) loadTooLittle(tt *testing.T) {
	t := s.begin(tt)
	whole, base, kind := t.based()
	n := len(whole.Layers) - 1
	if kind == engine.LeavesBlobs {
		// The base is unpacked, so containers run, but its blob is another one.
		other := whole
		other.blobs = nil
		for _, l := range whole.Layers {
			other.blobs = append(other.blobs, v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Size: 9,
				Digest: ocidigest.FromString(l.DiffID)})
		}
		_, err := t.Load(t.ctx, other.without(n, kind))
		t.must(err)
		t.wantContent(whole.Reference, false)
		t.must(t.Bench.RemoveImage(t.ctx, whole.Reference))
	}
	t.must(t.Bench.RemoveImage(t.ctx, base))
	t.wantNoImage(base)
	if id, err := t.Load(t.ctx, whole.without(n, kind)); err == nil {
		t.Errorf("loaded without its base is %s", id)
	}
	t.must(t.Bench.RemoveImage(t.ctx, whole.Reference)) // a containerd store may have kept it
	t.wantNoImage(whole.Reference)
	id, err := t.Load(t.ctx, archive.Join(whole.Parts))
	t.must(err)
	t.removeAtEnd(id)
	t.checkArchive(id)
}

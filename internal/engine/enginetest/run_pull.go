package enginetest

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/registry"
)

const pullManifestType = "application/vnd.docker.distribution.manifest.v2+json"

// offered is an image of these layers, as they are, that a registry offers.
func offered(about engine.About, layers taken, comment string) (_ registry.Image, id string) {
	own := config{Architecture: about.Architecture, OS: about.OS, Comment: comment, RootFS: rootFS{Type: "layers"}}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": pullManifestType}
	image := registry.Image{MediaType: pullManifestType, Blobs: map[string]registry.Content{}}
	var descriptors []descriptor
	for _, l := range layers.Layers {
		own.RootFS.DiffIDs = append(own.RootFS.DiffIDs, l.DiffID)
		descriptors = append(descriptors, descriptor{"application/vnd.docker.image.rootfs.diff.tar", l.Size, l.DiffID})
		image.Blobs[l.DiffID] = registry.Content{Size: l.Size, Open: func(context.Context) (io.ReadCloser, error) { return l.Open() }}
	}
	raw := mustJSON(own)
	image.Blobs[digest(raw)] = registry.Content{Size: int64(len(raw)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(raw))), nil
	}}
	manifest["config"] = descriptor{"application/vnd.docker.container.image.v1+json", int64(len(raw)), digest(raw)}
	manifest["layers"] = descriptors
	image.Manifest = mustJSON(manifest)
	return image, digest(raw)
}

// base makes an image, and returns its reference and its layers.
func (t *test) base() (ref string, layers taken) {
	t.Helper()
	ref = t.name("image") + ":v1"
	return ref, t.take(t.MakeImage(t, ref), "")
}

// gone returns the layers of an image that is gone from the Engine: a containerd store does
// not ask for those that it has.
func (t *test) gone() (layers taken) {
	t.Helper()
	ref, layers := t.base()
	t.must(t.Bench.RemoveImage(t.ctx, ref))
	t.wantNoImage(ref)
	layers.Layers = slices.Clone(layers.Layers)
	return layers
}

// What is pulled is there under its name, and gone when it is removed; a classic store asks
// for its layers by the digests that they were pulled with from then on, and sends them not.
func (s *suite) pull(tt *testing.T) {
	t := s.begin(tt)
	about, err := t.About(t.ctx)
	t.must(err)
	server := t.registry()
	ref, layers := t.base()
	comment := t.name("comment")
	image, _ := offered(about, layers, comment)
	session := server.Offer(t.name("tag"), func(string) registry.Image { return image })
	t.must(t.Bench.Pull(t.ctx, session.Reference(), pushAuth))
	t.must(session.Err())
	img, err := t.InspectImage(t.ctx, session.Reference())
	t.must(err)
	base, err := t.InspectImage(t.ctx, ref)
	t.must(err)
	if img.ID == base.ID || !slices.Equal(img.DiffIDs, base.DiffIDs) || !slices.Contains(img.References, session.Reference()) {
		t.Errorf("pulled is %+v, want one like %+v", img, base)
	}
	session.Close()
	t.must(t.Bench.RemoveImage(t.ctx, session.Reference()))
	t.wantNoImage(session.Reference())
	t.wantNoImage(img.ID)
	if !about.Stages {
		return
	}
	shelf := &shelf{blobs: map[string][]byte{}}
	for _, d := range base.DiffIDs {
		shelf.blobs[d] = []byte("known")
	}
	id := t.running(Spec{Image: ref})
	t.Write(t, id, "/written", "since")
	t.must(t.push(server, shelf, id))
	for _, d := range base.DiffIDs {
		if !slices.Contains(shelf.asked, d) {
			t.Errorf("it asks for %q, and not for layer %s", shelf.asked, d)
		}
	}
	if len(shelf.sent) != 2 {
		t.Errorf("it sends %q, want the layer on top and the configuration", shelf.sent)
	}
}

// What is refused, or breaks off, is an error, and leaves nothing.
func (s *suite) pullFails(tt *testing.T) {
	t := s.begin(tt)
	about, err := t.About(t.ctx)
	t.must(err)
	server := t.registry()
	layers := t.gone()
	broken := errors.New("a flipped bit")
	top := &layers.Layers[len(layers.Layers)-1]
	whole := top.Open
	top.Open = func() (io.ReadCloser, error) {
		r, err := whole()
		return io.NopCloser(io.MultiReader(io.LimitReader(r, 100), failing{broken})), err
	}
	image, id := offered(about, layers, t.name("comment"))
	session := server.Offer(t.name("tag"), func(string) registry.Image { return image })
	began := time.Now()
	t.wantOther("what breaks off", t.Bench.Pull(t.ctx, session.Reference(), pushAuth))
	if err := session.Err(); !errors.Is(err, broken) {
		t.Errorf("the session has the error %v", err)
	}
	if took := time.Since(began); took > patience/2 {
		t.Errorf("it fails after %s", took)
	}
	t.wantNoImage(session.Reference())
	t.wantNoImage(id)

	wrong := engine.Credentials{User: pushAuth.User, Password: "wrong"}
	other := server.Offer(t.name("tag"), func(string) registry.Image { return image })
	if err := t.Bench.Pull(t.ctx, other.Reference(), wrong); err == nil || strings.Contains(err.Error(), wrong.Password) {
		t.Errorf("with a wrong password the pull reports %v", err)
	}
	pushes := server.Open(t.name("tag"), &shelf{})
	t.wantNotFound(t.Bench.Pull(t.ctx, pushes.Reference(), pushAuth))
	t.wantOther("a pull from nobody", t.Bench.Pull(t.ctx, "127.0.0.1:1/none/none:v1", pushAuth))
}

func (s *suite) pullEnds(tt *testing.T) {
	t := s.begin(tt)
	about, err := t.About(t.ctx)
	t.must(err)
	layers := t.gone()
	came := make(chan struct{}, len(layers.Layers))
	for i := range layers.Layers {
		layers.Layers[i].Open = func() (io.ReadCloser, error) {
			came <- struct{}{}
			return io.NopCloser(hanging{t.ctx}), nil
		}
	}
	image, id := offered(about, layers, t.name("comment"))
	session := t.registry().Offer(t.name("tag"), func(string) registry.Image { return image })
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.ctx)
	go func() {
		<-came
		cancel(cause)
	}()
	if err := t.Bench.Pull(ctx, session.Reference(), pushAuth); !errors.Is(err, cause) {
		t.Errorf("a pull whose context has ended reports %v, want its cause", err)
	}
	t.wantNoImage(session.Reference())
	t.wantNoImage(id)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type hanging struct{ ctx context.Context } //nolint:containedctx // a reader has no other place for it

func (h hanging) Read([]byte) (int, error) {
	<-h.ctx.Done()
	return 0, context.Cause(h.ctx)
}

package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"

	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
)

// saved is an image that was saved and then removed, so that its archive is all there
// is of it.
func (t *test) saved() (id string, raw []byte) {
	t.Helper()
	ref := t.name("image") + ":v1"
	id = t.MakeImage(t, ref)
	r, err := t.Save(t.ctx, id)
	t.must(err)
	raw, err = io.ReadAll(r)
	t.must(errors.Join(err, r.Close()))
	t.must(t.Bench.RemoveImage(t.ctx, ref))
	t.wantNoImage(id)
	return id, raw
}

func (t *test) wantNoImage(name string) {
	t.Helper()
	if _, err := t.InspectImage(t.ctx, name); !errors.Is(err, engine.ErrNotFound) {
		t.Errorf("image %s: %v", name, err)
	}
}

// load loads an archive. What is loaded is removed with the test.
func (t *test) load(raw []byte) *engine.ImageDetail {
	t.Helper()
	id, err := t.Load(t.ctx, bytes.NewReader(raw))
	t.must(err)
	t.removeAtEnd(id)
	img, err := t.InspectImage(t.ctx, id)
	t.must(err)
	return img
}

func (t *test) removeAtEnd(id string) {
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), patience)
		defer cancel()
		img, err := t.InspectImage(ctx, id)
		if errors.Is(err, engine.ErrNotFound) {
			return
		}
		for _, name := range append(img.References, id) {
			err = errors.Join(err, t.Bench.RemoveImage(ctx, name))
		}
		if err != nil {
			t.Errorf("remove what was loaded: %v", err)
		}
	})
}

// An image comes back from its archive as the same image, without a name.
func (s *suite) loadByID(tt *testing.T) {
	t := s.begin(tt)
	id, raw := t.saved()
	for range 2 { // the second time it is there already
		if img := t.load(raw); img.ID != id || len(img.References) > 0 {
			t.Errorf("loaded is %s with the names %q, want %s without one", img.ID, img.References, id)
		}
	}
}

// One whose archive was given a name has that, and loses it to the next one.
func (s *suite) loadByName(tt *testing.T) {
	t := s.begin(tt)
	id, raw := t.saved()
	name := t.name("drill") + ":v1"
	named, err := io.ReadAll(archive.WithName(bytes.NewReader(raw), name))
	t.must(err)
	if img := t.load(named); img.ID != id || !slices.Equal(img.References, []string{name}) {
		t.Errorf("loaded is %s with the names %q, want %s with %s", img.ID, img.References, id, name)
	}
	other, raw := t.saved()
	if named, err = io.ReadAll(archive.WithName(bytes.NewReader(raw), name)); err != nil {
		t.Fatal(err)
	}
	if img := t.load(named); img.ID != other || !slices.Equal(img.References, []string{name}) {
		t.Errorf("loaded is %s with the names %q, want %s with %s", img.ID, img.References, other, name)
	}
	t.must(t.Bench.RemoveImage(t.ctx, name))
	t.wantNoImage(name)
	t.wantNoImage(other)
}

// An archive that ends, or breaks, before its end leaves nothing with its name.
func (s *suite) loadFails(tt *testing.T) {
	t := s.begin(tt)
	_, raw := t.saved()
	name := t.name("drill") + ":v1"
	named, err := io.ReadAll(archive.WithName(bytes.NewReader(raw), name))
	t.must(err)
	for what, r := range map[string]io.Reader{
		"cut short":      bytes.NewReader(named[:len(named)/2]),
		"broken":         io.MultiReader(bytes.NewReader(named[:len(named)/2]), iotest.ErrReader(errors.New("broken"))),
		"no archive":     bytes.NewReader(bytes.Repeat([]byte("no archive"), 1000)),
		"of no image":    bytes.NewReader(tarOf(map[string][]byte{"manifest.json": []byte("[]")})),
		"nothing at all": bytes.NewReader(nil),
	} {
		if id, err := t.Load(t.ctx, r); err == nil {
			t.Errorf("%s: loaded is %q", what, id)
		}
		t.wantNoImage(name)
	}
}

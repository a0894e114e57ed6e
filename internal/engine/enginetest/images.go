package enginetest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
)

func (s *suite) images(tt *testing.T) {
	t := s.begin(tt)
	refs := []string{t.name("image") + ":v1", t.name("image") + ":v2"}
	id := t.MakeImage(t, refs...)
	img := t.find(id)
	if img == nil {
		t.Fatalf("image %s is not listed", id)
	}
	slices.Sort(img.References)
	if !slices.Equal(img.References, refs) {
		t.Errorf("its references are %q, want %q", img.References, refs)
	}
	d, err := t.InspectImage(t.ctx, id)
	t.must(err)
	if d.ID != id || d.Size <= 0 {
		t.Errorf("inspected it is %+v", d)
	}
	for _, ref := range refs {
		if d, err := t.InspectImage(t.ctx, ref); err != nil || d.ID != id {
			t.Errorf("%s is inspected as %+v, %v; want %s", ref, d, err, id)
		}
	}
}

// A snapshot whose name went to another one is found by its comment.
func (s *suite) dangling(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	ref, first := t.snapshot(id, true)
	t.wantDangling(first, false, "")
	t.Write(t, id, "/written", "since")
	second, err := t.Commit(t.ctx, id, engine.CommitOptions{Reference: ref, Comment: "another", Pause: true})
	t.must(err)
	for range 2 {
		t.wantDangling(first, true, comment(ref))
		t.wantDangling(second, false, "")
	}
	t.must(t.RemoveImage(t.ctx, first))
	t.must(t.RemoveImage(t.ctx, first)) // it is not there
	t.wantDangling(first, false, "")
	_, err = t.InspectImage(t.ctx, first)
	t.wantNotFound(err)
	if d, err := t.InspectImage(t.ctx, ref); err != nil || d.ID != second {
		t.Errorf("%s is %+v, %v; want %s", ref, d, err, second)
	}
}

func (t *test) wantDangling(id string, want bool, comment string) {
	t.Helper()
	list, err := t.Bench.Dangling(t.ctx)
	t.must(err)
	i := slices.IndexFunc(list, func(img engine.DanglingImage) bool { return img.ID == id })
	switch {
	case i >= 0 != want:
		t.Errorf("image %s is listed as dangling: %v, want %v", id, i >= 0, want)
	case want && list[i].Comment != comment:
		t.Errorf("its comment is %q, want %q", list[i].Comment, comment)
	}
}

func (s *suite) inspect(tt *testing.T) {
	t := s.begin(tt)
	spec := Spec{
		Name: t.name("Inspect"), Image: t.name("image") + ":v1", Labels: map[string]string{"a": "b"},
		AutoRemove: true, Tmpfs: "/scratch", Volume: "/data",
	}
	t.MakeImage(t, spec.Image)
	id := t.Make(t, spec)
	d, err := t.Bench.Inspect(t.ctx, id)
	t.must(err)
	if d.ID != id || d.Name != spec.Name || d.State != events.StateCreated || d.Image != spec.Image ||
		d.Labels["a"] != "b" || !d.AutoRemove {
		t.Errorf("it is inspected as %+v", d)
	}
	t.wantMounts(d.Mounts, spec)
	var raw struct{ ID, Name string }
	if err := json.Unmarshal(d.Raw, &raw); err != nil || raw.ID != id || raw.Name != "/"+spec.Name {
		t.Errorf("the raw document is that of %+v, %v", raw, err)
	}
	t.must(t.Start(t.ctx, id))
	t.wantState(id, events.StateRunning)
}

// wantMounts expects the volume and the tmpfs of a container, in this order.
func (t *test) wantMounts(got []engine.Mount, spec Spec) {
	t.Helper()
	if len(got) != 2 || got[0].Destination != spec.Volume || got[0].Type != "volume" || got[0].Name == "" ||
		got[1].Destination != spec.Tmpfs || got[1].Type != "tmpfs" {
		t.Errorf("its mounts are %+v, want the volume %s and the tmpfs %s", got, spec.Volume, spec.Tmpfs)
	}
}

func (s *suite) commit(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	changes := t.follow(id)
	ref, imageID := t.snapshot(id, true)
	t.wantState(id, events.StateRunning)

	seen := t.account(changes, engine.ActionUnpause)
	t.wantActions(seen, engine.ActionPause, engine.ActionCommit, engine.ActionUnpause)
	if got := seen[min(1, len(seen)-1)].ImageID; got != imageID {
		t.Errorf("the account says that the commit made %s, and Commit that it made %s", got, imageID)
	}
	img := t.find(imageID)
	if img == nil || !slices.Equal(img.References, []string{ref}) {
		t.Errorf("the snapshot is listed as %+v, want it as %s", img, ref)
	}
	if d, err := t.InspectImage(t.ctx, imageID); err != nil || d.ID != imageID {
		t.Errorf("the snapshot is inspected as %+v, %v", d, err)
	}
}

// A container has the labels of its image too, and its own come first.
func (s *suite) imageLabels(tt *testing.T) {
	t := s.begin(tt)
	id := t.container(Spec{Labels: map[string]string{"holdfast.test.a": "image", "holdfast.test.b": "image"}})
	_, imageID := t.snapshot(id, false)
	img, err := t.InspectImage(t.ctx, imageID)
	t.must(err)
	if img.Labels["holdfast.test.a"] != "image" || img.Labels["holdfast.test.b"] != "image" {
		t.Errorf("the image has the labels %q", img.Labels)
	}
	made := t.container(Spec{Image: imageID, Labels: map[string]string{"holdfast.test.b": "own", "holdfast.test.c": "own"}})
	list, err := t.Containers(t.ctx)
	t.must(err)
	i := slices.IndexFunc(list, func(c engine.Container) bool { return c.ID == made })
	if i < 0 {
		t.Fatal("the container is not listed")
	}
	for label, want := range map[string]string{"holdfast.test.a": "image", "holdfast.test.b": "own", "holdfast.test.c": "own"} {
		if got := list[i].Labels[label]; got != want {
			t.Errorf("its label %s is %q, want %q", label, got, want)
		}
	}
	if list[i].ImageID != imageID {
		t.Errorf("it is made from %s, want %s", list[i].ImageID, imageID)
	}
}

func (s *suite) shares(tt *testing.T) {
	t := s.begin(tt)
	owner := t.running(Spec{})
	network := t.container(Spec{Network: owner})
	processes := t.container(Spec{Processes: owner})
	both := t.container(Spec{Network: owner, Processes: owner})
	for id, want := range map[string][]string{owner: nil, network: {owner}, processes: {owner}, both: {owner}} {
		d, err := t.Bench.Inspect(t.ctx, id)
		t.must(err)
		if !slices.Equal(d.Shares, want) {
			t.Errorf("container %s shares namespaces of %q, want %q", id, d.Shares, want)
		}
	}
	list, err := t.Containers(t.ctx)
	t.must(err)
	for _, c := range list {
		of, shares := c.NetworkOf()
		if c.ID == network && of != owner || (c.ID == owner || c.ID == processes) && shares {
			t.Errorf("container %s is listed with the network %q", c.ID, c.Network)
		}
	}
}

func (s *suite) commitOfAnyName(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{Name: t.name("My_App.X")})
	_, imageID := t.snapshot(id, true)
	t.checkArchive(imageID)
}

func (s *suite) commitOfWhatStands(tt *testing.T) {
	states := map[events.State]func(t *test, id string){
		events.StateCreated: func(*test, string) {},
		events.StatePaused: func(t *test, id string) {
			t.must(t.Start(t.ctx, id))
			t.must(t.Pause(t.ctx, id))
		},
		events.StateExited: func(t *test, id string) {
			t.must(t.Start(t.ctx, id))
			t.must(t.Stop(t.ctx, id))
		},
	}
	for state, bring := range states {
		tt.Run(string(state), func(tt *testing.T) {
			t := s.begin(tt)
			id := t.container(Spec{})
			bring(t, id)
			t.wantState(id, state)
			changes := t.follow(id)
			_, imageID := t.snapshot(id, state != events.StatePaused)
			t.wantState(id, state)
			t.wantActions(t.account(changes, engine.ActionCommit), engine.ActionCommit)
			t.checkArchive(imageID)
		})
	}
}

func (s *suite) commitWithoutPause(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	changes := t.follow(id)
	t.snapshot(id, false)
	t.wantActions(t.account(changes, engine.ActionCommit), engine.ActionCommit)
	t.wantState(id, events.StateRunning)
}

// archive saves an image.
func (t *test) archive(imageID string) []byte {
	t.Helper()
	r, err := t.Bench.Save(t.ctx, imageID)
	t.must(err)
	defer r.Close()
	archive, err := io.ReadAll(r)
	t.must(err)
	return archive
}

func (t *test) checkArchive(imageID string) *archive.Info {
	t.Helper()
	info, err := archive.Check(bytes.NewReader(t.archive(imageID)), imageID)
	t.must(err)
	return info
}

func (s *suite) save(tt *testing.T) {
	t := s.begin(tt)
	ref := t.name("image") + ":v1"
	baseID := t.MakeImage(t, ref)
	base := t.checkArchive(baseID)
	id := t.running(Spec{Image: ref})
	content := rand.Uint64()
	t.Write(t, id, "/written", fmt.Sprint(content))
	_, imageID := t.snapshot(id, true)
	info := t.checkArchive(imageID)
	if got := lastFile(t, t.archive(imageID), "written"); got != fmt.Sprint(content) {
		t.Errorf("what was written to the container is %q in the archive", got)
	}
	if len(info.DiffIDs) != len(base.DiffIDs)+1 {
		t.Errorf("the snapshot has %d layers, and its base %d", len(info.DiffIDs), len(base.DiffIDs))
	}
	if img, err := t.Bench.InspectImage(t.ctx, imageID); err != nil || !slices.Equal(img.DiffIDs, info.DiffIDs) {
		t.Errorf("inspect says the layers are %+v, %v, and the archive has %q", img, err, info.DiffIDs)
	}
	if info.ConfigDigest == base.ConfigDigest {
		t.Error("the snapshot has the configuration of its base")
	}
	for _, id := range []string{baseID, imageID} {
		if tags := repoTags(t, t.archive(id)); len(tags) > 0 {
			t.Errorf("an archive saved by id carries the references %q", tags)
		}
	}
	if _, err := archive.Check(bytes.NewReader(t.archive(baseID)), imageID); !errors.Is(err, archive.ErrCorrupt) {
		t.Errorf("the archive of another image is taken for the snapshot's: %v", err)
	}
}

// savedManifest is what an archive says of its images.
type savedManifest []struct{ RepoTags, Layers []string }

func manifestOf(t *test, archive []byte) (m savedManifest) {
	t.Helper()
	t.must(json.Unmarshal(fileOf(t, bytes.NewReader(archive), "manifest.json"), &m))
	return m
}

func repoTags(t *test, archive []byte) (tags []string) {
	t.Helper()
	for _, m := range manifestOf(t, archive) {
		tags = append(tags, m.RepoTags...)
	}
	return tags
}

// lastFile returns a file of the last layer of the image in an archive.
func lastFile(t *test, archive []byte, name string) string {
	t.Helper()
	layers := manifestOf(t, archive)[0].Layers
	layer := fileOf(t, bytes.NewReader(archive), layers[len(layers)-1])
	if plain, err := gzip.NewReader(bytes.NewReader(layer)); err == nil {
		return string(fileOf(t, plain, name))
	}
	return string(fileOf(t, bytes.NewReader(layer), name))
}

func fileOf(t *test, archive io.Reader, name string) []byte {
	t.Helper()
	tr := tar.NewReader(archive)
	for {
		h, err := tr.Next()
		if err != nil {
			t.Fatalf("look for %s: %v", name, err)
		}
		if strings.TrimPrefix(h.Name, "/") == name {
			content, err := io.ReadAll(tr)
			t.must(err)
			return content
		}
	}
}

func (s *suite) saveEnds(tt *testing.T) {
	t := s.begin(tt)
	imageID := t.MakeImage(t, t.name("image")+":v1")
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.ctx)
	r, err := t.Bench.Save(ctx, imageID)
	t.must(err)
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 512)); err != nil {
		t.Fatal(err)
	}
	cancel(cause)
	if _, err := io.Copy(io.Discard, r); !errors.Is(err, cause) {
		t.Errorf("the stream ended with %v, want the cause of its context", err)
	}
}

func (s *suite) removeImage(tt *testing.T) {
	t := s.begin(tt)
	refs := []string{t.name("image") + ":v1", t.name("image") + ":v2"}
	id := t.MakeImage(t, refs...)
	t.must(t.RemoveImage(t.ctx, refs[0]))
	if img := t.find(id); img == nil || !slices.Equal(img.References, refs[1:]) {
		t.Errorf("after one of two references was removed, the image is listed as %+v", img)
	}
	t.must(t.RemoveImage(t.ctx, refs[1]))
	if img := t.find(id); img != nil {
		t.Errorf("after its last reference was removed, the image is listed as %+v", img)
	}
	for _, name := range append(refs, id) {
		_, err := t.InspectImage(t.ctx, name)
		t.wantNotFound(err)
	}
	if err := t.RemoveImage(t.ctx, refs[1]); err != nil {
		t.Errorf("to remove what is not there is an error: %v", err)
	}

	running := t.running(Spec{})
	ref, snapshot := t.snapshot(running, true)
	t.must(t.RemoveImage(t.ctx, ref))
	_, err := t.InspectImage(t.ctx, snapshot)
	t.wantNotFound(err)
	t.wantState(running, events.StateRunning)
}

func (s *suite) removeImageKeepsParent(tt *testing.T) {
	t := s.begin(tt)
	parentRef := t.name("image") + ":v1"
	parent := t.MakeImage(t, parentRef)
	id := t.running(Spec{Image: parentRef})
	ref, _ := t.snapshot(id, true)
	t.MakeImage(t, parentRef) // moves the name: the parent stays without one
	t.must(t.RemoveImage(t.ctx, ref))
	if _, err := t.InspectImage(t.ctx, parent); err != nil {
		t.Errorf("the image that the snapshot was based on: %v", err)
	}
}

// An image from which a container was made stays as it is, whatever the container's
// state, until that is gone.
func (s *suite) removeImageInUse(tt *testing.T) {
	t := s.begin(tt)
	ref, snapshot := t.snapshot(t.running(Spec{}), true)
	for _, state := range []events.State{events.StateCreated, events.StateExited, events.StateRunning} {
		user := t.Make(t, Spec{Name: t.name("user"), Image: ref})
		if state != events.StateCreated {
			t.must(t.Start(t.ctx, user))
		}
		if state == events.StateExited {
			t.Kill(t, user)
		}
		for _, name := range []string{ref, snapshot} {
			if err := t.RemoveImage(t.ctx, name); !errors.Is(err, engine.ErrInUse) {
				t.Errorf("with a container that is %s, to remove %s reports %v, want ErrInUse", state, name, err)
			}
		}
		if d, err := t.InspectImage(t.ctx, snapshot); err != nil || !slices.Equal(d.References, []string{ref}) {
			t.Errorf("the image is inspected as %+v, %v; want it with its reference %s", d, err, ref)
		}
		t.Remove(t, user)
	}
	t.must(t.RemoveImage(t.ctx, ref))
	_, err := t.InspectImage(t.ctx, snapshot)
	t.wantNotFound(err)
}

// An image that another one is based on loses its name and stays until that is gone.
func (s *suite) removeImageWithChild(tt *testing.T) {
	t := s.begin(tt)
	ref, parent := t.snapshot(t.running(Spec{}), true)
	child := t.running(Spec{Image: ref})
	t.Write(t, child, "/written", "by the child")
	childRef, _ := t.snapshot(child, true)
	t.Kill(t, child)
	t.Remove(t, child)
	t.must(t.RemoveImage(t.ctx, ref))
	if d, err := t.InspectImage(t.ctx, parent); err != nil || len(d.References) > 0 {
		t.Errorf("the parent is inspected as %+v, %v; want it without a reference", d, err)
	}
	about, err := t.About(t.ctx)
	t.must(err)
	var want error // an Engine that does not need the base removes it
	if about.CommitNeedsBase {
		want = engine.ErrInUse
	}
	if err := t.RemoveImage(t.ctx, parent); !errors.Is(err, want) {
		t.Errorf("to remove the parent reports %v, want %v", err, want)
	}
	t.must(t.RemoveImage(t.ctx, childRef))
	t.must(t.RemoveImage(t.ctx, parent))
	_, err = t.InspectImage(t.ctx, parent)
	t.wantNotFound(err)
}

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
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/point"
)

// Bench is an Engine to be tested, and what its user does to it past the port.
// Its methods end the test if they fail, and what they make is removed with it.
type Bench interface {
	backup.Engine
	// Make makes a container that is not started. Started, it runs until it is
	// stopped.
	Make(t testing.TB, s Spec) (id string)
	// MakeImage makes an image with these references, unlike any other.
	MakeImage(t testing.TB, references ...string) (id string)
	// Write writes a file into the container's own layer.
	Write(t testing.TB, id, file, content string)
	Pause(t testing.TB, id string)
	Kill(t testing.TB, id string)
}

// patience bounds the waiting for an Engine. It only ends a test that fails.
const patience = 30 * time.Second

// Run holds an Engine to the comments of its port. The Engine may have other
// containers and images, and others may use it at the same time.
func Run(t *testing.T, open func(t *testing.T) Bench) {
	s := &suite{open: open, prefix: fmt.Sprintf("hft%08x", rand.Uint32())}
	t.Run("About", s.about)
	t.Run("Containers", s.containers)
	t.Run("Images", s.images)
	t.Run("Inspect", s.inspect)
	t.Run("Commit", s.commit)
	t.Run("CommitOfAnyName", s.commitOfAnyName)
	t.Run("CommitOfWhatStands", s.commitOfWhatStands)
	t.Run("CommitWithoutPause", s.commitWithoutPause)
	t.Run("Save", s.save)
	t.Run("SaveEndsWithItsContext", s.saveEnds)
	t.Run("RemoveImage", s.removeImage)
	t.Run("RemoveImageKeepsParent", s.removeImageKeepsParent)
	t.Run("StopAndStart", s.stopAndStart)
	t.Run("Unpause", s.unpause)
	t.Run("Watch", s.watch)
	t.Run("WatchMissesNothing", s.watchMissesNothing)
	t.Run("WatchEnds", s.watchEnds)
	t.Run("NotFound", s.notFound)
}

type suite struct {
	open   func(t *testing.T) Bench
	prefix string // of all names, so that nothing else is touched
	made   int
}

// test is one test on an Engine.
type test struct {
	*testing.T
	Bench
	ctx   context.Context
	suite *suite
}

func (s *suite) begin(t *testing.T) *test {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return &test{T: t, Bench: s.open(t), ctx: ctx, suite: s}
}

func (t *test) name(suffix string) string {
	t.suite.made++
	return fmt.Sprintf("%s-%d-%s", t.suite.prefix, t.suite.made, suffix)
}

func (t *test) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// container makes a container of an image of its own.
func (t *test) container(s Spec) (id string) {
	t.Helper()
	if s.Name == "" {
		s.Name = t.name("container")
	}
	if s.Image == "" {
		s.Image = t.name("image") + ":v1"
		t.MakeImage(t, s.Image)
	}
	return t.Make(t, s)
}

func (t *test) running(s Spec) (id string) {
	t.Helper()
	id = t.container(s)
	t.must(t.Start(t.ctx, id))
	return id
}

// snapshot commits a container to a reference that is removed with the test.
func (t *test) snapshot(id string, pause bool) (ref, imageID string) {
	t.Helper()
	ref = backup.SnapshotRepository + ":" + t.name("snapshot")
	t.Cleanup(func() {
		if err := t.RemoveImage(context.WithoutCancel(t.ctx), ref); err != nil {
			t.Errorf("remove %s: %v", ref, err)
		}
	})
	imageID, err := t.Commit(t.ctx, id, backup.CommitOptions{Reference: ref, Comment: "a comment", Pause: pause})
	t.must(err)
	return ref, imageID
}

func (t *test) state(id string) events.State {
	t.Helper()
	d, err := t.Bench.Inspect(t.ctx, id)
	t.must(err)
	return d.State
}

func (t *test) wantState(id string, want events.State) {
	t.Helper()
	if got := t.state(id); got != want {
		t.Errorf("the container is %s, want %s", got, want)
	}
}

// follow watches a container for the rest of the test.
func (t *test) follow(id string) <-chan backup.Change {
	t.Helper()
	changes, err := t.Bench.Watch(t.ctx, id)
	t.must(err)
	return changes
}

// account reads changes up to and including the first that is last, and returns
// those that matter to a backup.
func (t *test) account(changes <-chan backup.Change, last backup.Action) []backup.Change {
	t.Helper()
	var seen []backup.Change
	for {
		select {
		case c, ok := <-changes:
			if !ok {
				t.Fatalf("the account ended before %s; it has %v", last, actions(seen))
			}
			if slices.Contains(matter, c.Action) {
				seen = append(seen, c)
			}
			if c.Action == last {
				return seen
			}
		case <-t.ctx.Done():
			t.Fatalf("no %s in the account; it has %v", last, actions(seen))
		}
	}
}

var matter = []backup.Action{backup.ActionPause, backup.ActionUnpause, backup.ActionStart, backup.ActionDie,
	backup.ActionStop, backup.ActionCommit}

func actions(changes []backup.Change) []backup.Action {
	list := []backup.Action{}
	for _, c := range changes {
		list = append(list, c.Action)
	}
	return list
}

func (t *test) wantActions(changes []backup.Change, want ...backup.Action) {
	t.Helper()
	if got := actions(changes); !slices.Equal(got, want) {
		t.Errorf("the account has %v, want %v", got, want)
	}
	for i := range changes[:max(0, len(changes)-1)] {
		if changes[i+1].Time.Before(changes[i].Time) {
			t.Errorf("%s is dated before the %s that it followed", changes[i+1].Action, changes[i].Action)
		}
	}
}

func (t *test) wantNotFound(err error) {
	t.Helper()
	if !errors.Is(err, backup.ErrNotFound) {
		t.Errorf("the error is %v, want ErrNotFound", err)
	}
}

func (s *suite) about(tt *testing.T) {
	t := s.begin(tt)
	a, err := t.About(t.ctx)
	t.must(err)
	for what, value := range map[string]string{
		"ID": a.ID, "Name": a.Name, "Version": a.Version, "Store": a.Store, "DataRoot": a.DataRoot,
	} {
		if value == "" {
			t.Errorf("%s is empty", what)
		}
	}
}

func (s *suite) containers(tt *testing.T) {
	t := s.begin(tt)
	image := t.name("image") + ":v1"
	t.MakeImage(t, image)
	spec := func(suffix string) Spec {
		return Spec{Name: t.name(suffix), Image: image, Labels: map[string]string{"holdfast.test": suffix}}
	}
	want := map[string]backup.Container{}
	add := func(s Spec, id string, state events.State) {
		want[id] = backup.Container{ID: id, Name: s.Name, State: state, Labels: s.Labels}
	}
	created, running, paused, exited := spec("created"), spec("running"), spec("paused"), spec("exited")
	add(created, t.container(created), events.StateCreated)
	add(running, t.running(running), events.StateRunning)
	id := t.running(paused)
	t.Pause(t, id)
	add(paused, id, events.StatePaused)
	id = t.running(exited)
	t.must(t.Stop(t.ctx, id))
	add(exited, id, events.StateExited)

	list, err := t.Containers(t.ctx)
	t.must(err)
	for _, c := range list {
		w, mine := want[c.ID]
		if !mine {
			continue
		}
		delete(want, c.ID)
		if c.Name != w.Name || c.State != w.State || c.Labels["holdfast.test"] != w.Labels["holdfast.test"] {
			t.Errorf("listed is %+v, want %+v", c, w)
		}
	}
	for _, c := range want {
		t.Errorf("%s %s is not listed", c.State, c.Name)
	}
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		t.Errorf("%q is not a full id", id)
	}
}

// find returns the image as it is listed, or nil.
func (t *test) find(id string) *backup.Image {
	t.Helper()
	list, err := t.Bench.Images(t.ctx)
	t.must(err)
	i := slices.IndexFunc(list, func(img backup.Image) bool { return img.ID == id })
	if i < 0 {
		return nil
	}
	return &list[i]
}

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
	if len(d.Mounts) != 2 || d.Mounts[0].Destination != spec.Volume || d.Mounts[0].Type != "volume" || d.Mounts[0].Name == "" ||
		d.Mounts[1].Destination != spec.Tmpfs || d.Mounts[1].Type != "tmpfs" {
		t.Errorf("its mounts are %+v, want the volume %s and the tmpfs %s", d.Mounts, spec.Volume, spec.Tmpfs)
	}
	var raw struct{ ID, Name string }
	if err := json.Unmarshal(d.Raw, &raw); err != nil || raw.ID != id || raw.Name != "/"+spec.Name {
		t.Errorf("the raw document is that of %+v, %v", raw, err)
	}
	t.must(t.Start(t.ctx, id))
	t.wantState(id, events.StateRunning)
}

func (s *suite) commit(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	changes := t.follow(id)
	ref, imageID := t.snapshot(id, true)
	t.wantState(id, events.StateRunning)

	seen := t.account(changes, backup.ActionUnpause)
	t.wantActions(seen, backup.ActionPause, backup.ActionCommit, backup.ActionUnpause)
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
			t.Pause(t, id)
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
			t.wantActions(t.account(changes, backup.ActionCommit), backup.ActionCommit)
			t.checkArchive(imageID)
		})
	}
}

func (s *suite) commitWithoutPause(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	changes := t.follow(id)
	t.snapshot(id, false)
	t.wantActions(t.account(changes, backup.ActionCommit), backup.ActionCommit)
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

func (t *test) checkArchive(imageID string) *point.ArchiveInfo {
	t.Helper()
	info, err := point.CheckArchive(bytes.NewReader(t.archive(imageID)), imageID)
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
	if info.Layers != base.Layers+1 {
		t.Errorf("the snapshot has %d layers, and its base %d", info.Layers, base.Layers)
	}
	if info.ConfigDigest == base.ConfigDigest {
		t.Error("the snapshot has the configuration of its base")
	}
	for _, id := range []string{baseID, imageID} {
		if tags := repoTags(t, t.archive(id)); len(tags) > 0 {
			t.Errorf("an archive saved by id carries the references %q", tags)
		}
	}
	if _, err := point.CheckArchive(bytes.NewReader(t.archive(baseID)), imageID); !errors.Is(err, point.ErrCorrupt) {
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
	_, err := t.InspectImage(t.ctx, id)
	t.wantNotFound(err)
	if err := t.RemoveImage(t.ctx, refs[1]); err != nil {
		t.Errorf("to remove what is not there is an error: %v", err)
	}

	running := t.running(Spec{})
	ref, snapshot := t.snapshot(running, true)
	t.must(t.RemoveImage(t.ctx, ref))
	_, err = t.InspectImage(t.ctx, snapshot)
	t.wantNotFound(err)
	t.wantState(running, events.StateRunning)
}

func (s *suite) removeImageKeepsParent(tt *testing.T) {
	t := s.begin(tt)
	parentRef := t.name("image") + ":v1"
	parent := t.MakeImage(t, parentRef)
	id := t.running(Spec{Image: parentRef})
	ref, _ := t.snapshot(id, true)
	t.must(t.RemoveImage(t.ctx, parentRef)) // stays without a reference: a container uses it
	t.must(t.RemoveImage(t.ctx, ref))
	if _, err := t.InspectImage(t.ctx, parent); err != nil {
		t.Errorf("the image that the snapshot was based on: %v", err)
	}
}

func (s *suite) stopAndStart(tt *testing.T) {
	t := s.begin(tt)
	id := t.container(Spec{})
	changes := t.follow(id)
	t.must(t.Stop(t.ctx, id)) // it stands already
	t.wantState(id, events.StateCreated)
	for range 2 {
		t.must(t.Start(t.ctx, id))
		t.wantState(id, events.StateRunning)
	}
	for range 2 {
		t.must(t.Stop(t.ctx, id))
		t.wantState(id, events.StateExited)
	}
	t.must(t.Start(t.ctx, id))
	t.Kill(t, id)
	t.wantActions(t.account(changes, backup.ActionStart), backup.ActionStart)
	stopped := t.account(changes, backup.ActionStart)
	if len(stopped) == 3 && stopped[0].Action == backup.ActionStop { // Engine 29 can report the end after the stop
		stopped[0], stopped[1] = stopped[1], stopped[0]
		stopped[0].Time = stopped[1].Time
	}
	t.wantActions(stopped, backup.ActionDie, backup.ActionStop, backup.ActionStart)
	t.wantActions(t.account(changes, backup.ActionDie), backup.ActionDie)
}

func (s *suite) unpause(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	changes := t.follow(id)
	t.must(t.Unpause(t.ctx, id)) // it was not paused
	t.wantState(id, events.StateRunning)
	t.Pause(t, id)
	t.wantState(id, events.StatePaused)
	t.must(t.Unpause(t.ctx, id))
	t.wantState(id, events.StateRunning)
	t.wantActions(t.account(changes, backup.ActionUnpause), backup.ActionPause, backup.ActionUnpause)
	t.must(t.Stop(t.ctx, id))
	if err := t.Unpause(t.ctx, id); err != nil {
		t.Errorf("to unpause what is stopped: %v", err)
	}
}

func (s *suite) watch(tt *testing.T) {
	t := s.begin(tt)
	image := t.name("image") + ":v1"
	t.MakeImage(t, image)
	id := t.running(Spec{Image: image})
	// The Engine's own filter takes names and beginnings of ids as well.
	other := t.running(Spec{Image: image, Name: id})
	first, second := t.follow(id), t.follow(id)
	t.Pause(t, other)
	t.Pause(t, id)
	for _, changes := range []<-chan backup.Change{first, second} {
		t.wantActions(t.account(changes, backup.ActionPause), backup.ActionPause)
	}
	t.must(t.Unpause(t.ctx, other))
	t.must(t.Unpause(t.ctx, id))
	for _, changes := range []<-chan backup.Change{first, second} {
		t.wantActions(t.account(changes, backup.ActionUnpause), backup.ActionUnpause)
	}
}

func (s *suite) watchMissesNothing(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	for range 10 {
		ctx, cancel := context.WithCancel(t.ctx)
		changes, err := t.Bench.Watch(ctx, id)
		t.must(err)
		t.Pause(t, id)
		t.must(t.Unpause(t.ctx, id))
		t.wantActions(t.account(changes, backup.ActionUnpause), backup.ActionPause, backup.ActionUnpause)
		cancel()
	}
}

func (s *suite) watchEnds(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	ctx, cancel := context.WithCancel(t.ctx)
	changes, err := t.Bench.Watch(ctx, id)
	t.must(err)
	cancel()
	for range changes { // ends when the channel is closed
	}
	if _, err := t.Bench.Watch(ctx, id); err == nil {
		t.Error("Watch does not report that its context has ended")
	}
}

func (s *suite) notFound(tt *testing.T) {
	t := s.begin(tt)
	gone := strings.Repeat("0123456789abcdef", 4)
	_, err := t.Bench.Inspect(t.ctx, gone)
	t.wantNotFound(err)
	_, err = t.Commit(t.ctx, gone, backup.CommitOptions{Reference: backup.SnapshotRepository + ":" + t.name("gone"), Pause: true})
	t.wantNotFound(err)
	t.wantNotFound(t.Stop(t.ctx, gone))
	t.wantNotFound(t.Start(t.ctx, gone))
	t.wantNotFound(t.Unpause(t.ctx, gone))
	_, err = t.InspectImage(t.ctx, "sha256:"+gone)
	t.wantNotFound(err)
	_, err = t.Bench.Save(t.ctx, "sha256:"+gone)
	t.wantNotFound(err)
}

package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// Bench is an Engine to be tested, and what its user does to it past the port.
// Its methods end the test if they fail, and what they make is removed with it.
type Bench interface {
	engine.Engine
	// Make makes a container that is not started. Started, it runs until it is
	// stopped.
	Make(t testing.TB, s Spec) (id string)
	// MakeImage makes an image with these references, unlike any other.
	MakeImage(t testing.TB, references ...string) (id string)
	// Write writes a file into the container's own layer.
	Write(t testing.TB, id, file, content string)
	// MakeVolume makes a volume of the local driver; DropVolume removes it before its
	// time.
	MakeVolume(t testing.TB, name string, labels map[string]string)
	DropVolume(t testing.TB, name string)
	Kill(t testing.TB, id string)
	// Remove removes a container, whatever its state.
	Remove(t testing.TB, id string)
	// Folder makes an empty folder of the Engine's host.
	Folder(t testing.TB) (path string)
	// HelperFiles are the files that a helper needs to run Program, as a tar archive.
	HelperFiles(t testing.TB) io.Reader
	// Refuse has these calls refused from now on, and no others, as a socket proxy
	// before the Engine does.
	Refuse(t testing.TB, calls ...engine.Call)
}

// patience bounds the waiting for an Engine. It only ends a test that fails.
const patience = 2 * time.Minute

// Run holds an Engine to the comments of its port. The Engine may have other
// containers and images, and others may use it at the same time.
func Run(t *testing.T, open func(t *testing.T) Bench) {
	s := &suite{open: open, prefix: fmt.Sprintf("hft%08x", rand.Uint32())}
	t.Run("About", s.about)
	t.Run("Containers", s.containers)
	t.Run("Images", s.images)
	t.Run("Inspect", s.inspect)
	t.Run("ImageLabels", s.imageLabels)
	t.Run("Shares", s.shares)
	t.Run("Volumes", s.volumes)
	t.Run("VolumeAgain", s.volumeAgain)
	t.Run("Mounts", s.mounts)
	t.Run("Commit", s.commit)
	t.Run("CommitOfAnyName", s.commitOfAnyName)
	t.Run("CommitOfWhatStands", s.commitOfWhatStands)
	t.Run("CommitWithoutPause", s.commitWithoutPause)
	t.Run("Dangling", s.dangling)
	t.Run("Save", s.save)
	t.Run("SaveEndsWithItsContext", s.saveEnds)
	t.Run("RemoveImage", s.removeImage)
	t.Run("RemoveImageKeepsParent", s.removeImageKeepsParent)
	t.Run("RemoveImageInUse", s.removeImageInUse)
	t.Run("RemoveImageWithChild", s.removeImageWithChild)
	t.Run("StopAndStart", s.stopAndStart)
	t.Run("StartOfSharers", s.startOfSharers)
	t.Run("Pause", s.pause)
	t.Run("Unpause", s.unpause)
	t.Run("StartedAt", s.startedAt)
	t.Run("Watch", s.watch)
	t.Run("WatchMissesNothing", s.watchMissesNothing)
	t.Run("WatchEnds", s.watchEnds)
	t.Run("NotFound", s.notFound)
	t.Run("Probe", s.probe)
	t.Run("Refused", s.refused)
	t.Run("LoadByID", s.loadByID)
	t.Run("LoadByName", s.loadByName)
	t.Run("LoadFails", s.loadFails)
	t.Run("LoadPart", s.loadPart)
	t.Run("LoadTooLittle", s.loadTooLittle)
	s.runExec(t)
	s.runCreate(t)
	s.runHelpers(t)
	s.runRegistry(t)
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
	ctx   context.Context //nolint:containedctx // the lifetime of the test
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
	ref = engine.SnapshotReference(t.name("snapshot"))
	t.Cleanup(func() {
		if err := t.RemoveImage(context.WithoutCancel(t.ctx), ref); err != nil {
			t.Errorf("remove %s: %v", ref, err)
		}
	})
	imageID, err := t.Commit(t.ctx, id, engine.CommitOptions{Reference: ref, Comment: comment(ref), Pause: pause})
	t.must(err)
	return ref, imageID
}

func comment(ref string) string { return "a comment on " + ref }

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
func (t *test) follow(id string) <-chan engine.Change {
	t.Helper()
	changes, err := t.Bench.Watch(t.ctx, id)
	t.must(err)
	return changes
}

// account reads changes up to and including the first that is last, and returns
// those that matter to a backup.
func (t *test) account(changes <-chan engine.Change, last engine.Action) []engine.Change {
	t.Helper()
	var seen []engine.Change
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

var matter = []engine.Action{engine.ActionPause, engine.ActionUnpause, engine.ActionStart, engine.ActionDie,
	engine.ActionStop, engine.ActionCommit}

func actions(changes []engine.Change) []engine.Action {
	list := []engine.Action{}
	for _, c := range changes {
		list = append(list, c.Action)
	}
	return list
}

func (t *test) wantActions(changes []engine.Change, want ...engine.Action) {
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
	if !errors.Is(err, engine.ErrNotFound) {
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
	t.must(t.Ping(t.ctx))
}

func (s *suite) containers(tt *testing.T) {
	t := s.begin(tt)
	image := t.name("image") + ":v1"
	t.MakeImage(t, image)
	spec := func(suffix string) Spec {
		return Spec{Name: t.name(suffix), Image: image, Labels: map[string]string{"holdfast.test": suffix}}
	}
	want := map[string]engine.Container{}
	add := func(s Spec, id string, state events.State) {
		want[id] = engine.Container{ID: id, Name: s.Name, State: state, Labels: s.Labels}
	}
	created, running, paused, exited := spec("created"), spec("running"), spec("paused"), spec("exited")
	add(created, t.container(created), events.StateCreated)
	add(running, t.running(running), events.StateRunning)
	id := t.running(paused)
	t.must(t.Pause(t.ctx, id))
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
func (t *test) find(id string) *engine.Image {
	t.Helper()
	list, err := t.Bench.Images(t.ctx)
	t.must(err)
	i := slices.IndexFunc(list, func(img engine.Image) bool { return img.ID == id })
	if i < 0 {
		return nil
	}
	return &list[i]
}

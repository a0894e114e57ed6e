package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// runHelpers holds an Engine to [engine.Helpers].
func (s *suite) runHelpers(t *testing.T) {
	t.Run("RemoveContainer", s.removeContainer)
	t.Run("Helper", s.helper)
	t.Run("HelperOnAFolder", s.helperOnAFolder)
	t.Run("HelperReadsOnly", s.helperReadsOnly)
	t.Run("HelperOfWhatIsNotThere", s.helperOfNothing)
	t.Run("HelperLetsItsReaderWait", s.helperWaits)
	t.Run("HelperWhoseStreamsFail", s.helperStreamsFail)
	t.Run("HelperEndsWithItsContext", s.helperEnds)
	t.Run("RemoveHelper", s.removeHelper)
}

func (s *suite) removeContainer(tt *testing.T) {
	t := s.begin(tt)
	other := t.running(Spec{})
	for _, id := range []string{t.container(Spec{}), t.running(Spec{})} {
		for range 2 { // the second finds nothing
			t.must(t.RemoveContainer(t.ctx, id))
			_, err := t.Bench.Inspect(t.ctx, id)
			t.wantNotFound(err)
		}
	}
	t.wantState(other, events.StateRunning)
}

// made makes a helper with its program, which is removed with the test.
func (t *test) made(spec engine.HelperSpec, command ...string) (id string) {
	t.Helper()
	spec.Command = append([]string{Program}, command...)
	spec.Name = t.name("helper")
	t.Cleanup(func() {
		if _, err := t.RemoveHelper(context.WithoutCancel(t.ctx), spec.Name); err != nil {
			t.Errorf("remove %s: %v", spec.Name, err)
		}
	})
	id, err := t.CreateHelper(t.ctx, spec)
	t.must(err)
	t.must(t.CopyToHelper(t.ctx, id, t.HelperFiles(t)))
	return id
}

func (t *test) volume() engine.HelperSpec {
	t.Helper()
	name := t.name("Volume_1")
	t.MakeVolume(t, name, nil)
	return engine.HelperSpec{Volume: name}
}

// ran runs a helper that must end well, and returns what it wrote.
func (t *test) ran(id, stdin string) string {
	t.Helper()
	var out, problems strings.Builder
	code, err := t.RunHelper(t.ctx, id, strings.NewReader(stdin), &out, &problems)
	t.must(err)
	if code != 0 {
		t.Fatalf("the helper ended with %d and said %q", code, problems.String())
	}
	return out.String()
}

func (s *suite) helper(tt *testing.T) {
	t := s.begin(tt)
	place := t.volume()
	place.Writes = true
	content := strings.Repeat("0123456789abcdef", 1<<16)
	if out := t.ran(t.made(place, "keep", engine.HelperPlace+"/kept"), content); out != "" {
		t.Errorf("what writes said %q", out)
	}
	place.Writes = false
	id := t.made(place, "show", engine.HelperPlace+"/kept")
	t.must(t.CopyToHelper(t.ctx, id, t.HelperFiles(t))) // it may be repeated
	if out := t.ran(id, "it reads nothing"); out != content {
		t.Errorf("of %d bytes that were written %d are read, or others", len(content), len(out))
	}
	t.wantState(id, events.StateExited)
	list, err := t.Containers(t.ctx)
	t.must(err)
	i := slices.IndexFunc(list, func(c engine.Container) bool { return c.ID == id })
	if i < 0 || !list[i].IsHelper() || list[i].ImageID != "" || list[i].Network != "none" {
		t.Errorf("the helper is listed as %+v, want it without image and network", list[max(i, 0)])
	}
	var out, problems bytes.Buffer
	code, err := t.RunHelper(t.ctx, t.made(place, "say", "to out", "to err", "7"), nil, &out, &problems)
	t.must(err)
	if code != 7 || out.String() != "to out" || problems.String() != "to err" {
		t.Errorf("it ended with %d and said %q and %q, want 7 and both that it was told", code, out.String(), problems.String())
	}
}

func (s *suite) helperOnAFolder(tt *testing.T) {
	t := s.begin(tt)
	place := engine.HelperSpec{Bind: t.Folder(t), Writes: true}
	t.ran(t.made(place, "keep", engine.HelperPlace+"/kept"), "content")
	place.Writes = false
	if out := t.ran(t.made(place, "show", engine.HelperPlace+"/kept"), ""); out != "content" {
		t.Errorf("read is %q", out)
	}
}

func (s *suite) helperReadsOnly(tt *testing.T) {
	t := s.begin(tt)
	for _, place := range []engine.HelperSpec{t.volume(), {Bind: t.Folder(t)}} {
		var problems bytes.Buffer
		code, err := t.RunHelper(t.ctx, t.made(place, "keep", engine.HelperPlace+"/kept"), strings.NewReader("x"), io.Discard, &problems)
		t.must(err)
		if code == 0 || !strings.Contains(problems.String(), "read-only") {
			t.Errorf("to write where it may only read ended with %d: %q", code, problems.String())
		}
	}
}

// What is not there is never made.
func (s *suite) helperOfNothing(tt *testing.T) {
	t := s.begin(tt)
	volume, folder := t.name("volume"), t.Folder(t)+"/none"
	for _, spec := range []engine.HelperSpec{{Volume: volume}, {Bind: folder}} {
		for _, spec.Writes = range []bool{false, true} {
			spec.Name, spec.Command = t.name("helper"), []string{Program}
			_, err := t.CreateHelper(t.ctx, spec)
			t.wantNotFound(err)
			if found, err := t.RemoveHelper(t.ctx, spec.Name); found || err != nil {
				t.Errorf("something was made: %v, %v", found, err)
			}
		}
	}
	_, err := t.Bench.InspectVolume(t.ctx, volume)
	t.wantNotFound(err)
	spec := t.volume()
	spec.Name, spec.Command, spec.Image = t.name("helper"), []string{"x"}, t.name("image")+":v1"
	if _, err := t.CreateHelper(t.ctx, spec); !errors.Is(err, engine.ErrNoHelperImage) {
		t.Errorf("of an image that is not there it reports %v, want ErrNoHelperImage", err)
	}
}

// Who writes waits for who reads, with little in between.
func (s *suite) helperWaits(tt *testing.T) {
	t := s.begin(tt)
	const size = 32 << 20
	place := t.volume()
	var got int
	out := writerFunc(func(p []byte) (int, error) { got += len(p); return len(p), nil })
	code, err := t.RunHelper(t.ctx, t.made(place, "fill", "33554432"), nil, out, io.Discard)
	t.must(err)
	if code != 0 || got != size {
		t.Errorf("it ended with %d, and of %d bytes %d came", code, size, got)
	}
}

type writerFunc func(p []byte) (int, error)

func (w writerFunc) Write(p []byte) (int, error) { return w(p) }

func (s *suite) helperStreamsFail(tt *testing.T) {
	t := s.begin(tt)
	place := t.volume()
	broken := errors.New("broken")
	full := writerFunc(func([]byte) (int, error) { return 0, broken })
	if _, err := t.RunHelper(t.ctx, t.made(place, "fill", "1000000"), nil, full, io.Discard); !errors.Is(err, broken) {
		t.Errorf("a writer that fails is reported as %v, want its error", err)
	}
	place.Writes = true
	id := t.made(place, "keep", engine.HelperPlace+"/kept")
	stdin := io.MultiReader(strings.NewReader("some"), iotest.ErrReader(broken))
	if _, err := t.RunHelper(t.ctx, id, stdin, io.Discard, io.Discard); !errors.Is(err, broken) {
		t.Errorf("an input that fails is reported as %v, want its error", err)
	}
	// What is not read is dropped.
	endless := readerFunc(func(p []byte) (int, error) { return len(p), nil })
	code, err := t.RunHelper(t.ctx, t.made(place, "say", "", "", "3"), endless, io.Discard, io.Discard)
	t.must(err)
	if code != 3 {
		t.Errorf("it ended with %d, want 3", code)
	}
}

type readerFunc func(p []byte) (int, error)

func (r readerFunc) Read(p []byte) (int, error) { return r(p) }

func (s *suite) helperEnds(tt *testing.T) {
	t := s.begin(tt)
	id := t.made(t.volume()) // runs until it is told to end
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.ctx)
	go func() {
		for {
			if d, err := t.Bench.Inspect(t.ctx, id); err != nil || d.State == events.StateRunning {
				cancel(cause)
				return
			}
		}
	}()
	if _, err := t.RunHelper(ctx, id, nil, io.Discard, io.Discard); !errors.Is(err, cause) {
		t.Errorf("it reports %v, want the cause of its context", err)
	}
	t.wantState(id, events.StateRunning)
}

// A helper is removed whatever it does, and nothing else is.
func (s *suite) removeHelper(tt *testing.T) {
	t := s.begin(tt)
	place := t.volume()
	created, running := t.made(place), t.made(place)
	t.must(t.Start(t.ctx, running))
	// A container of the user with such a name is his.
	name := engine.HelperName(t.name("point"), 1, 0)
	users := t.container(Spec{Name: name})
	for range 2 {
		if found, err := t.RemoveHelper(t.ctx, name); found || err != nil {
			t.Errorf("a user's container is taken for a helper: %v, %v", found, err)
		}
	}
	t.wantState(users, events.StateCreated)
	for _, id := range []string{created, running} {
		d, err := t.Bench.Inspect(t.ctx, id)
		t.must(err)
		for _, want := range []bool{true, false} {
			if found, err := t.RemoveHelper(t.ctx, d.Name); found != want || err != nil {
				t.Errorf("to remove it reports %v, %v; want %v", found, err, want)
			}
		}
		_, err = t.Bench.Inspect(t.ctx, id)
		t.wantNotFound(err)
	}
	_, err := t.Bench.InspectVolume(t.ctx, place.Volume)
	t.must(err)
}

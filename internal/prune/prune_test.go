package prune_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/inuse"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/prune"
	"holdfast.io/holdfast/internal/retention"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/schemas/examples"
)

var asked = time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)

const (
	id  = "20260302T141503Z-441e7818"
	dir = "points/web01/container/web-1/" + id
)

// users are who uses points, by the points' ids.
type users map[string]string

func (u users) UserOf(_ context.Context, p inuse.Point) (string, error) { return u[p.ID], nil }

func (u users) Alone(ctx context.Context, _ string) (context.Context, func(), error) {
	return ctx, func() {}, nil
}

// store puts a point into a sink, as the examples have one.
func store(t *testing.T, s *sinktest.Memory, dir string, change func(*point.Manifest)) {
	t.Helper()
	valid, err := examples.Valid("manifest")
	if err != nil {
		t.Fatal(err)
	}
	m, err := point.Decode(valid["container.json"])
	if err != nil {
		t.Fatal(err)
	}
	m.ID = path.Base(dir)
	if change != nil {
		change(m)
	}
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	publish(t, s, dir, raw)
}

func publish(t *testing.T, s sink.Sink, dir string, manifest []byte) {
	t.Helper()
	staging, err := s.Stage(t.Context(), dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	w, _, err := staging.Create(t.Context(), point.ImageArchive, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("archive")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Commit(), staging.Publish(t.Context(), manifest), staging.Discard(t.Context())); err != nil {
		t.Fatal(err)
	}
}

func remover(s sink.Sink, grace time.Duration) *prune.Remover {
	return &prune.Remover{Sink: s, Uses: users{}, Host: "web01", Job: "ptg32uecxwng6yf7", Now: asked, Grace: grace}
}

var target = prune.Point{ID: id, Dir: dir, Reason: "no rule keeps it"}

// marksOf are the marks beside the point.
func marksOf(t *testing.T, s sink.Reader) point.Marks {
	t.Helper()
	return point.ReadMarks(t.Context(), s, dir, sink.MarkNames[:]...)
}

func isThere(t *testing.T, s sink.Reader) bool {
	t.Helper()
	_, err := s.Stat(t.Context(), path.Join(dir, sink.ManifestName))
	if err != nil && !errors.Is(err, sink.ErrNotFound) {
		t.Fatal(err)
	}
	return err == nil
}

func mustBeKept(t *testing.T, err error, why string) {
	t.Helper()
	kept, ok := errors.AsType[*prune.KeptError](err)
	if !ok || !strings.Contains(kept.Why, why) {
		t.Errorf("the error is %v, want that it is kept: %s", err, why)
	}
}

// First the point is hidden, by a mark that says all; its bytes go when the grace has
// ended by the stream's time.
func TestTwoPhases(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	r := remover(s, 24*time.Hour)
	for range 2 { // the second time as after a death
		goneAfter, err := r.Remove(t.Context(), target)
		if err != nil || !goneAfter.Equal(asked.Add(24*time.Hour)) {
			t.Fatalf("gone after %s, %v", goneAfter, err)
		}
	}
	want := point.Removed{FormatVersion: 1, Time: asked, Host: "web01", Job: r.Job, Reason: target.Reason, GoneAfter: asked.Add(24 * time.Hour)}
	if got := marksOf(t, s).Removed; got == nil || *got != want {
		t.Errorf("the mark is %+v", got)
	}
	r = remover(s, 24*time.Hour)
	r.Now = asked.Add(24*time.Hour - time.Second)
	mustBeKept(t, r.Erase(t.Context(), target), "can be taken back until 2026-11-28T12:00:00Z")
	r.Now = asked.Add(24 * time.Hour)
	for range 2 {
		if err := r.Erase(t.Context(), target); err != nil {
			t.Fatal(err)
		}
	}
	if left := s.Contents(); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
	if goneAfter, err := r.Remove(t.Context(), target); err != nil || !goneAfter.IsZero() {
		t.Errorf("to remove what is gone: %s, %v", goneAfter, err)
	}
}

func TestWithoutGrace(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	goneAfter, err := remover(s, 0).Remove(t.Context(), target)
	if err != nil || !goneAfter.IsZero() || len(s.Contents()) > 0 {
		t.Errorf("gone after %s, %v; left is %q", goneAfter, err, s.Contents())
	}
}

// What somebody else hid keeps the grace that was said then.
func TestHiddenByAnother(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	other := remover(s, time.Hour)
	other.Job = "k3j2k3j2k3j2k3j2"
	if _, err := other.Remove(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	goneAfter, err := remover(s, 24*time.Hour).Remove(t.Context(), target)
	if err != nil || !goneAfter.Equal(asked.Add(time.Hour)) || marksOf(t, s).Removed.Job != other.Job {
		t.Errorf("gone after %s, %v; the mark is %+v", goneAfter, err, marksOf(t, s).Removed)
	}
}

func protect(t *testing.T, s sink.Marker) {
	t.Helper()
	err := point.Protected{By: "anna@ops-1", Time: asked, Reason: "before the move"}.Write(t.Context(), s, dir)
	if err != nil {
		t.Fatal(err)
	}
}

// What is protected, used, taken back or not understood stays, hidden or not.
func TestWhatStays(t *testing.T) {
	cases := map[string]func(t *testing.T, s *sinktest.Memory, r *prune.Remover){
		"protected by anna@ops-1: before the move": func(t *testing.T, s *sinktest.Memory, _ *prune.Remover) { protect(t, s) },
		"in use by job k3j2 of host db01": func(_ *testing.T, _ *sinktest.Memory, r *prune.Remover) {
			r.Uses = users{id: "job k3j2 of host db01"}
		},
		"locked until 20": func(_ *testing.T, s *sinktest.Memory, _ *prune.Remover) { s.LockPoint(dir, 30*24*time.Hour) },
		"protected.json cannot be read": func(t *testing.T, s *sinktest.Memory, _ *prune.Remover) {
			if err := s.PutMark(t.Context(), dir, sink.ProtectedName, []byte("{")); err != nil {
				t.Fatal(err)
			}
		},
	}
	for why, arrange := range cases {
		s := sinktest.NewMemory()
		store(t, s, dir, nil)
		r := remover(s, 0)
		arrange(t, s, r)
		_, err := r.Remove(t.Context(), target)
		mustBeKept(t, err, why)
		if !isThere(t, s) || marksOf(t, s).Removed != nil {
			t.Errorf("%s: it is there: %t, and its mark %+v", why, isThere(t, s), marksOf(t, s).Removed)
		}

		s = sinktest.NewMemory()
		store(t, s, dir, nil)
		if _, err := remover(s, time.Nanosecond).Remove(t.Context(), target); err != nil {
			t.Fatal(err)
		}
		r = remover(s, 0)
		r.Now = asked.Add(time.Hour)
		arrange(t, s, r)
		mustBeKept(t, r.Erase(t.Context(), target), why)
		if !isThere(t, s) {
			t.Errorf("%s: it is gone", why)
		}
	}
}

func TestTakenBack(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	mustBeKept(t, remover(s, 0).Erase(t.Context(), target), "taken back")
	if !isThere(t, s) {
		t.Error("it is gone")
	}
}

// Whoever protects or uses a point just before it is hidden finds it as it was: it is
// looked at again once it is hidden.
func TestProtectedOrUsedJustBefore(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Hour} {
		for what, meanwhile := range map[string]func(t *testing.T, s *sinktest.Memory, r *prune.Remover){
			"protected": func(t *testing.T, s *sinktest.Memory, _ *prune.Remover) { protect(t, s) },
			"in use":    func(_ *testing.T, _ *sinktest.Memory, r *prune.Remover) { r.Uses = users{id: "a restore"} },
			"locked":    func(_ *testing.T, s *sinktest.Memory, _ *prune.Remover) { s.LockPoint(dir, time.Hour) },
		} {
			s := sinktest.NewMemory()
			store(t, s, dir, nil)
			r := remover(s, grace)
			ctx := step.Observe(t.Context(), func(_ context.Context, passed step.Name) {
				if passed == step.Hidden {
					meanwhile(t, s, r)
				}
			})
			_, err := r.Remove(ctx, target)
			mustBeKept(t, err, what)
			if !isThere(t, s) || marksOf(t, s).Removed != nil {
				t.Errorf("%s: there %t, mark %+v", what, isThere(t, s), marksOf(t, s).Removed)
			}
		}
	}
}

// A full sink has no room for the mark: without a grace points go all the same.
func TestFullSink(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	s.Fail(t, sinktest.OpMark, 1, sink.ErrFull)
	if _, err := remover(s, time.Hour).Remove(t.Context(), target); !errors.Is(err, sink.ErrFull) || !strings.Contains(err.Error(), "without a grace") {
		t.Errorf("the error is %v", err)
	}
	s.Fail(t, sinktest.OpMark, 1, sink.ErrFull)
	if _, err := remover(s, 0).Remove(t.Context(), target); err != nil || len(s.Contents()) > 0 {
		t.Errorf("the error is %v, left is %q", err, s.Contents())
	}
}

// What somebody else hid without a grace goes now, if nothing else was asked for.
func TestHiddenByAnotherWithoutGrace(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	other := point.Removed{Time: asked, Host: "db01", Job: "k3j2k3j2k3j2k3j2", Reason: "x", GoneAfter: asked}
	if err := other.Write(t.Context(), s, dir); err != nil {
		t.Fatal(err)
	}
	if goneAfter, err := remover(s, 0).Remove(t.Context(), target); err != nil || !goneAfter.IsZero() || len(s.Contents()) > 0 {
		t.Errorf("gone after %s, %v; left is %q", goneAfter, err, s.Contents())
	}
}

// Two that remove one point at a time both succeed, and nothing is left of it.
func TestTwoAtOnce(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	errs := make(chan error)
	for i := range 2 {
		go func() {
			r := remover(s, 0)
			r.Job = []string{"aaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbb"}[i]
			_, err := r.Remove(context.Background(), target)
			if err == nil {
				err = r.Erase(context.Background(), target)
			}
			errs <- err
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if left := s.Contents(); len(left) > 0 {
		t.Errorf("left is %q", left)
	}
}

// What an interrupted removal left is taken up, of the hosts that are asked for; what
// lost its manifest in another way stays.
func TestTakeUp(t *testing.T) {
	s := sinktest.NewMemory()
	const other = "points/web02/container/web-1/" + id
	r := remover(s, 0)
	for _, d := range []string{dir, other} {
		store(t, s, d, nil)
		s.Fail(t, sinktest.OpHidden, 1, errors.New("killed"))
		if _, err := r.Remove(t.Context(), prune.Point{ID: id, Dir: d, Reason: target.Reason}); err == nil {
			t.Fatal("it was not interrupted")
		}
	}
	if err := r.TakeUp(t.Context(), []string{"web02"}); err != nil {
		t.Fatal(err)
	}
	left := s.Contents()
	if len(left) == 0 || slices.ContainsFunc(slices.Collect(maps.Keys(left)), func(key string) bool { return !strings.HasPrefix(key, dir) }) {
		t.Errorf("left is %q", left)
	}
	if err := r.TakeUp(t.Context(), nil); err != nil || len(s.Contents()) > 0 {
		t.Errorf("%v, left is %q", err, s.Contents())
	}
}

// A survey says what retention must know, and what it cannot know of a point.
func TestSurvey(t *testing.T) {
	s := sinktest.NewMemory()
	store(t, s, dir, nil)
	protect(t, s)
	const volume = "points/web01/volume/pg%2Fdata/20260302T141504Z-441e7819"
	publish(t, s, volume, []byte("{"))
	const moved = "points/web02/container/web-1/20260302T141505Z-441e7820"
	store(t, s, moved, func(m *point.Manifest) { m.ID = id })
	found, err := prune.Survey(t.Context(), s, map[string]string{id: "a restore"}, func(g retention.Group) bool { return g.Name != "db" })
	if err != nil || len(found) != 3 {
		t.Fatalf("found are %+v, %v", found, err)
	}
	by := map[string]prune.Candidate{}
	for _, c := range found {
		by[c.Dir] = c
	}
	c := by[dir]
	if c.ID != id || c.Host != "web01" || c.Kind != events.ItemContainer || c.UsedBy != "a restore" || c.Problem != "" ||
		c.Protected != "by anna@ops-1: before the move" || c.Bytes == 0 || c.Parts["the image"] == 0 || c.Item.ID == "" {
		t.Errorf("the point is %+v", c)
	}
	if c := by[volume]; c.Problem == "" || c.Name != "pg/data" || c.Kind != events.ItemVolume || c.ID != path.Base(volume) {
		t.Errorf("the damaged point is %+v", c)
	}
	if c := by[moved]; !strings.Contains(c.Problem, "move it back") {
		t.Errorf("the point in another folder is %+v", c)
	}
	none, err := prune.Survey(t.Context(), s, nil, func(retention.Group) bool { return false })
	if err != nil || len(none) != 0 {
		t.Errorf("of no group there are %v, %v", none, err)
	}
}

// An unreadable mark of any kind is a problem.
func TestSurveyWithDamagedMarks(t *testing.T) {
	for _, name := range slices.Sorted(slices.Values(sink.MarkNames[:])) {
		s := sinktest.NewMemory()
		store(t, s, dir, nil)
		if err := s.PutMark(t.Context(), dir, name, []byte("{")); err != nil {
			t.Fatal(err)
		}
		found, err := prune.Survey(t.Context(), s, nil, func(retention.Group) bool { return true })
		if err != nil || len(found) != 1 || !strings.Contains(found[0].Problem, name) {
			t.Errorf("%s: found are %+v, %v", name, found, err)
		}
	}
}

package point_test

import (
	"context"
	"errors"
	"path"
	"reflect"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/schemas/examples"
)

var (
	marked    = time.Date(2026, 3, 3, 9, 12, 0, 0, time.UTC)
	verified  = point.Verified{Time: marked, Level: "full", OK: true, Host: "web01", Job: "ptg32uecxwng6yf7", Holdfast: "1.0.0"}
	protected = point.Protected{By: "anna@ops-1", Time: marked, Reason: "before the migration"}
	removed   = point.Removed{Time: marked, Host: "web01", Job: "ptg32uecxwng6yf7", Reason: "too old", GoneAfter: marked.Add(time.Hour)}
)

// mark is one of the marks.
type mark interface {
	Write(ctx context.Context, to sink.Marker, dir string) error
}

func TestMarksComeBackAsTheyWereWritten(t *testing.T) {
	s := catalogue(t)
	for _, m := range []mark{verified, protected, removed} {
		if err := m.Write(t.Context(), s, firstDir); err != nil {
			t.Fatal(err)
		}
		if err := m.Write(t.Context(), s, firstDir+"x"); !errors.Is(err, sink.ErrNotFound) {
			t.Errorf("beside no point: %v, want %v", err, sink.ErrNotFound)
		}
	}
	v, p, r := verified, protected, removed
	v.FormatVersion, p.FormatVersion, r.FormatVersion = 1, 1, 1
	want := point.Marks{Verified: &v, Protected: &p, Removed: &r}
	if got := point.ReadMarks(t.Context(), s, firstDir, sink.MarkNames[:]...); !reflect.DeepEqual(got, want) {
		t.Errorf("the marks are %+v, want %+v", got, want)
	}
	for e, err := range point.List(t.Context(), s, sink.PointsName) {
		if err != nil {
			t.Fatal(err)
		}
		if got := reflect.DeepEqual(e.Marks, want); got != (e.Dir == firstDir) {
			t.Errorf("%s has the marks %+v", e.Dir, e.Marks)
		}
	}
	if got := point.ReadMarks(t.Context(), s, thirdDir, sink.MarkNames[:]...); !reflect.DeepEqual(got, point.Marks{}) {
		t.Errorf("without marks: %+v", got)
	}
}

func TestAMarkThatIsNotValidIsNotWritten(t *testing.T) {
	s := catalogue(t)
	noReason, long, badLevel, problems := protected, removed, verified, verified
	noReason.Reason = ""
	long.Reason = strings.Repeat("x", point.MaxMarkText+1)
	badLevel.Level = "deep"
	problems.Problems = make([]point.Problem, point.MaxProblems+1)
	for _, m := range []mark{noReason, long, badLevel, problems} {
		if err := m.Write(t.Context(), s, firstDir); err == nil {
			t.Errorf("%+v was written", m)
		}
	}
	if len(s.Contents()) != 3 {
		t.Errorf("the sink holds %q", s.Contents())
	}
}

// A mark that cannot be read is said, hides nothing, and frees nothing to be removed.
func TestDamagedMarks(t *testing.T) {
	const newer = `{"formatVersion": 2, "by": ["a", "b"]}`
	for _, raw := range []string{"", "{", "[]", "{}", "null", `{"formatVersion": 1}`, newer, strings.Repeat(" ", point.MaxMark+1)} {
		s := catalogue(t)
		for _, name := range sink.MarkNames {
			putMark(t, s, name, raw)
		}
		found := 0
		for e, err := range point.List(t.Context(), s, firstDir) {
			if err != nil {
				t.Fatal(err)
			}
			found++
			m := e.Marks
			if e.Manifest == nil || m.IsRemoved() || !m.IsProtected() || m.Verified != nil || len(m.Unread) != len(sink.MarkNames) {
				t.Errorf("%.40q: the entry is %+v", raw, e)
			}
			for name, err := range m.Unread {
				if !strings.Contains(err.Error(), path.Join(firstDir, name)) && !strings.Contains(err.Error(), name+" in "+firstDir) ||
					errors.Is(err, point.ErrNewer) != (raw == newer) {
					t.Errorf("%.40q: %s: %v", raw, name, err)
				}
			}
		}
		if found != 1 {
			t.Errorf("%.40q: %d points are listed", raw, found)
		}
	}
}

func putMark(t *testing.T, s sink.Marker, name, raw string) {
	t.Helper()
	if err := s.PutMark(t.Context(), firstDir, name, []byte(raw)); err != nil {
		t.Fatal(err)
	}
}

// FuzzReadMarks: whatever lies beside a point, reading it does not panic, and what is
// accepted can be written again and is then the same.
func FuzzReadMarks(f *testing.F) {
	for _, schema := range []string{"verified", "protected", "removed"} {
		valid, err := examples.Valid(schema)
		if err != nil {
			f.Fatal(err)
		}
		for _, raw := range valid {
			f.Add(raw)
		}
		invalid, err := examples.Invalid(schema)
		if err != nil {
			f.Fatal(err)
		}
		for _, fault := range invalid {
			f.Add(fault.Data)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s := sinktest.NewMemory()
		publish(t, s, firstDir, []byte("{}"))
		for _, name := range sink.MarkNames {
			putMark(t, s, name, string(raw))
		}
		m := point.ReadMarks(t.Context(), s, firstDir, sink.MarkNames[:]...)
		known := len(m.Unread)
		for _, mark := range []mark{m.Verified, m.Protected, m.Removed} {
			if reflect.ValueOf(mark).IsNil() {
				continue
			}
			known++
			if err := mark.Write(t.Context(), s, firstDir); err != nil {
				t.Fatalf("cannot be written again: %v", err)
			}
		}
		if known != len(sink.MarkNames) {
			t.Errorf("%d marks are read or said to be damaged", known)
		}
		again := point.ReadMarks(t.Context(), s, firstDir, sink.MarkNames[:]...)
		m.Unread, again.Unread = nil, nil
		if !reflect.DeepEqual(m, again) {
			t.Errorf("changed when it was written again:\n%+v\n%+v", m, again)
		}
	})
}

func TestFailure(t *testing.T) {
	m := decode(t, example(t))
	image, config := m.Artifacts[0].Key, m.Artifacts[1].Key
	at := time.Date(2026, 3, 3, 3, 0, 0, 0, time.UTC)
	const failed = "the point failed its last verification (full, 2026-03-03T03:00:00Z)"
	for name, c := range map[string]struct {
		entry    point.Entry
		problems []point.Problem
		omitted  int
		want     string
	}{
		"one is damaged": {point.Entry{Manifest: m}, []point.Problem{{Key: image, Message: "torn"}}, 0,
			failed + "; good was then container.json; image.tar.zst: torn"},
		"all are": {point.Entry{Manifest: m}, []point.Problem{{Key: image, Message: "torn"}, {Key: config, Message: "gone"}}, 0,
			failed + "; good was then nothing; image.tar.zst: torn; container.json: gone"},
		"it did not run": {point.Entry{Manifest: m}, []point.Problem{{Message: "it ended at once"}}, 0,
			failed + "; good was then image.tar.zst, container.json; it ended at once"},
		"more than is told": {point.Entry{Manifest: m}, []point.Problem{{Key: image, Message: "torn"}}, 3,
			failed + "; image.tar.zst: torn; and 3 more"},
		"the manifest was": {point.Entry{Manifest: m}, []point.Problem{{Key: "points/x/manifest.json", Message: "torn"}}, 0,
			failed + "; manifest.json: torn"},
		"the manifest is": {point.Entry{}, []point.Problem{{Key: image, Message: "torn"}}, 0, failed + "; image.tar.zst: torn"},
	} {
		c.entry.Marks.Verified = &point.Verified{Time: at, Level: "full", Problems: c.problems, ProblemsOmitted: c.omitted}
		if got := c.entry.Failure(); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
		c.entry.Marks.Verified.OK = true
		if got := c.entry.Failure(); got != "" {
			t.Errorf("%s, and it passed: %s", name, got)
		}
	}
	if got := (point.Entry{Manifest: m}).Failure(); got != "" {
		t.Errorf("it was never verified: %s", got)
	}
}

package verify

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
)

var update = flag.Bool("update", false, "write the plans in testdata/select as they come out now")

// today is when the plans in testdata are made.
var today = time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)

// TestSelect holds the plan of a request to testdata/select. A file has the data of the
// request, the points in the sink, and the plan. A point has its host, kind, name and
// the day in March 2026 on which it was stored, of which its id is made; and then what
// else is known: "LEVEL@DAY" or "LEVEL@DAY,failed" for when it was verified,
// "unreadable" and "removed".
func TestSelect(t *testing.T) {
	files, err := filepath.Glob("testdata/select/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := selectionOf(t, archive)
			want := section(archive, "plan")
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(want.Data) {
				t.Errorf("the plan is\n%s\nwant\n%s", got, want.Data)
			}
		})
	}
}

func section(a *txtar.Archive, name string) *txtar.File {
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	panic("no section " + name)
}

func selectionOf(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	req, err := events.ParseVerifyRequest(section(a, "request.json").Data)
	if err != nil {
		t.Fatal(err)
	}
	var all []Candidate
	for line := range strings.Lines(string(section(a, "points").Data)) {
		all = append(all, candidate(t, strings.Fields(line)))
	}
	plan := Select(today, req, all, req.DryRun)
	for range 10 {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if again := Select(today, req, all, req.DryRun); !reflect.DeepEqual(again, plan) {
			t.Fatalf("the order of the points makes a difference: %+v and %+v", plan, again)
		}
	}
	return printed(t, plan)
}

// candidate is a point as a line of a file has it.
func candidate(t *testing.T, words []string) Candidate {
	t.Helper()
	day := func(text string) time.Time {
		var n int
		if _, err := fmt.Sscan(text, &n); err != nil {
			t.Fatalf("%q is no day: %v", text, err)
		}
		return time.Date(2026, 3, n, 0, 0, 0, 0, time.UTC)
	}
	c := Candidate{Host: words[0], Item: events.Item{Kind: events.ItemKind(words[1]), ID: "id of " + words[2], Name: words[2]}, Stored: day(words[3])}
	c.ID = events.PointID(c.Stored, "/test", "request", c.Host, c.Item.Kind, c.Item.ID)
	for _, word := range words[4:] {
		level, at, verified := strings.Cut(word, "@")
		at, failed := strings.CutSuffix(at, ",failed")
		switch {
		case verified:
			c.Verified = &point.Verified{Level: level, Time: day(at), OK: !failed}
		case word == "unreadable":
			c.Stored, c.Item.ID = time.Time{}, ""
		case word == "removed":
			c.Removed = true
		default:
			t.Fatalf("what is %q?", word)
		}
	}
	c.Dir = point.Dir(c.Host, c.Item.Kind, c.Item.Name, c.ID)
	return c
}

// printed is a plan as the files have it. What comes out of its stored form is what
// went in.
func printed(t *testing.T, p *Plan) string {
	t.Helper()
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	back := &Plan{}
	if err := json.Unmarshal(raw, back); err != nil || !reflect.DeepEqual(back.Public(), p.Public()) {
		t.Errorf("%+v came back as %+v, %v", p, back, err)
	}
	var b strings.Builder
	for _, i := range back.Items {
		named := ""
		if i.Named {
			named = " (by its id)"
		}
		fmt.Fprintf(&b, "+ %s %s %s%s\n    %s\n", i.Point, i.Kind, i.Name, named, i.Reason)
	}
	for _, m := range p.Missing {
		fmt.Fprintf(&b, "! %s %s %s\n    %s\n", m.Kind, m.Name, m.Code, m.Message)
	}
	for _, e := range p.Excluded {
		fmt.Fprintf(&b, "- %s %s %s\n    %s\n", e.Point, e.Kind, e.Name, e.Reason)
	}
	return cmp.Or(b.String(), "nothing\n")
}

func TestSampleSize(t *testing.T) {
	for _, c := range []struct {
		sample string
		n, all int
	}{
		{"", 7, 7}, {"100%", 7, 7}, {"10%", 1, 7}, {"10%", 0, 0}, {"50%", 4, 7}, {"0.1%", 1, 1000}, {"0.1%", 2, 1001}, {"99.99%", 7, 7},
	} {
		if n := sampleSize(c.sample, c.all); n != c.n {
			t.Errorf("%q of %d points are %d, want %d", c.sample, c.all, n, c.n)
		}
	}
}

// A plan of ten thousand points is made, stored and read in well under a second.
func TestSelectManyPoints(t *testing.T) {
	var all []Candidate
	for i := range 10_000 {
		all = append(all, candidate(t, []string{"web01", "container", fmt.Sprintf("c%05d", i), fmt.Sprint(1 + i%28)}))
	}
	began := time.Now()
	p := Select(today, &events.VerifyRequest{Containers: &events.ItemSelector{All: true}}, all, false)
	raw, err := json.Marshal(p)
	if err != nil || len(p.Items) != len(all) {
		t.Fatalf("%d items, %v", len(p.Items), err)
	}
	if err := json.Unmarshal(raw, &Plan{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d points, %d bytes, %s", len(all), len(raw), time.Since(began))
}

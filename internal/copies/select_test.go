package copies

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

// TestSelect holds the plan of a request on host web01 to testdata/select. A file has the
// data of the request, the points in the sink, and the plan. A point has its host, kind,
// name and the day in March 2026 of its id, and then what else is known of it, by the
// names of the members of Candidate.
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
			got := planOf(t, archive)
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

func planOf(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	req, err := events.ParseCopyRequest(section(a, "request.json").Data)
	if err != nil {
		t.Fatal(err)
	}
	var all []Candidate
	for line := range strings.Lines(string(section(a, "points").Data)) {
		all = append(all, candidate(t, strings.Fields(line)))
	}
	choice := Choice{Request: req, Host: "web01", Now: today, Explain: req.DryRun}
	plan := Select(choice, all)
	for range 10 {
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		if again := Select(choice, all); !reflect.DeepEqual(again, plan) {
			t.Fatalf("the order of the points makes a difference: %+v and %+v", plan, again)
		}
	}
	return printed(t, plan)
}

// candidate is a point as a line of a file has it.
func candidate(t *testing.T, words []string) Candidate {
	t.Helper()
	var day int
	if _, err := fmt.Sscan(words[3], &day); err != nil {
		t.Fatalf("%q is no day: %v", words[3], err)
	}
	c := Candidate{Host: words[0], Bytes: int64(day) << 20,
		Item: events.Item{Kind: events.ItemKind(words[1]), ID: "id of " + words[2], Name: words[2]}}
	c.ID = events.PointID(time.Date(2026, 3, day, 0, 0, 0, 0, time.UTC), "/test", "request", c.Host, c.Item.Kind, c.Item.ID)
	c.Dir = point.Dir(c.Host, c.Item.Kind, c.Item.Name, c.ID)
	for _, word := range words[4:] {
		switch word {
		case "damaged":
			c.Item.ID, c.Bytes, c.Code, c.Problem = "", 0, events.CodePointDamaged, "the manifest is damaged"
		case "removed":
			c.Removed = true
		case "there":
			c.There = true
		case "hidden":
			c.There, c.Hidden = true, true
		case "unprotected":
			c.Unprotected = true
		case "moved":
			c.Dir += "-moved"
		default:
			t.Fatalf("what is %q?", word)
		}
	}
	return c
}

// printed is a plan as the files have it. What comes out of its stored form is what went
// in.
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
		named, of := "", ""
		if i.Named {
			named = " (by its id)"
		}
		if i.PointHost != "" {
			of = " of " + i.PointHost
		}
		fmt.Fprintf(&b, "+ %s %s %s%s%s\n    %s: %s%s\n", i.Point, i.Kind, i.Name, of, named, i.Reason, strings.Join(i.Actions, ", "), i.Message)
	}
	for _, m := range p.Missing {
		fmt.Fprintf(&b, "! %s %s %s\n    %s\n", m.Kind, m.Name, m.Code, m.Message)
	}
	for _, e := range p.Excluded {
		fmt.Fprintf(&b, "- %s %s %s\n    %s\n", e.Point, e.Kind, e.Name, e.Reason)
	}
	return cmp.Or(b.String(), "nothing\n")
}

// What one job does not copy is left to the next, and what is left out by name is bounded.
func TestSelectManyPoints(t *testing.T) {
	var all []Candidate
	for i := range 2 * maxItems {
		c := candidate(t, []string{"web01", "container", fmt.Sprintf("c%05d", i), "1"})
		c.There = i%2 > 0
		all = append(all, c, candidate(t, []string{"web01", "container", fmt.Sprintf("d%05d", i), "2"}))
	}
	p := Select(Choice{Request: &events.CopyRequest{Containers: &events.ItemSelector{All: true}, To: "b"}, Host: "web01", Now: today}, all)
	if len(p.Items) != maxItems || len(p.Warnings) != 1 || p.Warnings[0].Code != events.WarningMorePoints {
		t.Errorf("%d items, and the warnings %+v", len(p.Items), p.Warnings)
	}
	for _, i := range p.Items {
		if i.Name[0] != 'd' {
			t.Fatalf("%s is copied before what is newer", i.Point)
		}
	}
	if n := len(p.Excluded); n != events.MaxListed || p.ExcludedOmitted != maxItems-n {
		t.Errorf("%d are left out, and %d more", n, p.ExcludedOmitted)
	}
}

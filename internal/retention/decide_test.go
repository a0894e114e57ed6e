package retention

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"holdfast.io/holdfast/events"
)

var update = flag.Bool("update", false, "write the decisions in testdata/decide as they come out now")

// TestDecide holds decisions to testdata/decide. A file has the time of the request,
// the policy, the points, one a line: host, kind, name and id, and then what else is
// known of it as key=value, where ␣ is a blank; and what is decided.
func TestDecide(t *testing.T) {
	files, err := filepath.Glob("testdata/decide/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := decided(t, archive)
			want := section(t, archive, "decisions")
			if *update {
				want.Data = []byte(got)
				if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if got != string(want.Data) {
				t.Errorf("the decisions are\n%s\nwant\n%s", got, want.Data)
			}
		})
	}
}

func section(t *testing.T, a *txtar.Archive, name string) *txtar.File {
	t.Helper()
	for i := range a.Files {
		if a.Files[i].Name == name {
			return &a.Files[i]
		}
	}
	t.Fatalf("there is no section %s", name)
	return nil
}

func decided(t *testing.T, a *txtar.Archive) string {
	t.Helper()
	now := timeOf(t, strings.TrimSpace(string(section(t, a, "now").Data)))
	var p Policy
	if err := json.Unmarshal(section(t, a, "policy.json").Data, &p); err != nil {
		t.Fatal(err)
	}
	var points []Point
	for line := range strings.Lines(string(section(t, a, "points").Data)) {
		if fields := strings.Fields(line); len(fields) > 0 && !strings.HasPrefix(line, "#") {
			points = append(points, pointOf(t, fields))
		}
	}
	return show(Decide(now, p, points))
}

func timeOf(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func pointOf(t *testing.T, fields []string) Point {
	t.Helper()
	p := Point{Group: Group{Host: fields[0], Kind: events.ItemKind(fields[1]), Name: fields[2]}, ID: fields[3],
		Dir: "points/" + strings.Join(fields[:4], "/"), Tags: map[string]string{}, Parts: map[string]int64{}}
	for _, field := range fields[4:] {
		key, value, _ := strings.Cut(strings.ReplaceAll(field, "␣", " "), "=")
		what, name, _ := strings.Cut(key, ".")
		switch what {
		case "tag":
			p.Tags[name] = value
		case "part":
			size, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			p.Parts[name] = size
		case "verified":
			p.Verified = Verification(value)
		case "protected":
			p.Protected = value
		case "usedby":
			p.UsedBy = value
		case "problem":
			p.Problem = value
		case "locked":
			p.LockedUntil = timeOf(t, value)
		case "hidden":
			p.Hidden = &Hidden{Until: timeOf(t, value)}
		default:
			t.Fatalf("what is %s?", field)
		}
	}
	return p
}

func show(verdicts []Verdict) string {
	var b strings.Builder
	for _, v := range verdicts {
		fmt.Fprintf(&b, "%s %s %s\n", v.Host, v.Kind, v.Name)
		if v.Held != "" {
			fmt.Fprintf(&b, "  held back: %s\n", v.Held)
		}
		for _, d := range v.Points {
			fmt.Fprintf(&b, "  %-6s %s: %s\n", d.Action, d.ID, strings.Join(d.Reasons, "; "))
		}
	}
	return b.String()
}

func TestEmpty(t *testing.T) {
	for _, p := range []Policy{{}, {Last: -1}, {Within: -time.Second}, {Tags: []string{}}} {
		if !p.Empty() {
			t.Errorf("%+v is not empty", p)
		}
	}
	for _, p := range []Policy{{Last: 1}, {Yearly: 1}, {Within: 1}, {Tags: []string{"a"}}} {
		if p.Empty() {
			t.Errorf("%+v is empty", p)
		}
	}
}

// What is given is not changed, in whatever order it comes.
func TestDecideChangesNothing(t *testing.T) {
	points := []Point{at(1, 0), at(3, 0), at(2, 0)}
	before := slices.Clone(points)
	Decide(base.AddDate(0, 1, 0), Policy{Last: 1}, points)
	for i := range points {
		if points[i].ID != before[i].ID {
			t.Errorf("the points are in another order")
		}
	}
}

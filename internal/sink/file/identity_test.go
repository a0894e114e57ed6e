package file_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

func TestOpenSetsUpAnEmptyFolder(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	raw, err := os.ReadFile(filepath.Join(dir, "holdfast.json"))
	must(t, err)
	var own struct {
		FormatVersion int
		ID            string
		Created       time.Time
	}
	must(t, json.Unmarshal(raw, &own))
	if own.FormatVersion != sink.FormatVersion || own.ID != s.ID() || time.Since(own.Created).Abs() > time.Minute {
		t.Errorf("holdfast.json is %s, and the id %s", raw, s.ID())
	}
	if found := contents(t, dir); len(found) != 1 {
		t.Errorf("there is more than holdfast.json: %q", found)
	}
	before := contents(t, dir)
	if again := open(t, dir); again.ID() != s.ID() {
		t.Errorf("the id was %s and is %s", s.ID(), again.ID())
	}
	same(t, before, contents(t, dir))
}

func TestOpenRefuses(t *testing.T) {
	const mine, other = "7d0a3a35-9f0c-4d2c-8a5d-0f1f7f1d9a01", "1b6f0a4e-4a60-4c0b-9c27-5f2a5b6d7e02"
	identity := func(version, id string) string {
		return `{"formatVersion":` + version + `,"id":"` + id + `","created":"2026-11-22T21:30:00Z"}`
	}
	tests := map[string]struct {
		known   string
		prepare func(t *testing.T, dir string)
		says    string
	}{
		"a folder that is not there": {"", func(t *testing.T, dir string) { must(t, os.Remove(dir)) }, "mount its disk"},
		"a folder that is not there and was used before": {mine, func(t *testing.T, dir string) { must(t, os.Remove(dir)) },
			"mount its disk"},
		"a file": {"", func(t *testing.T, dir string) {
			must(t, os.Remove(dir))
			must(t, os.WriteFile(dir, nil, 0o600))
		}, "not a directory"},
		"an empty folder that was a sink":  {mine, nil, "is the disk mounted?"},
		"another sink than before":         {mine, holds(identity("1", other)), "is the right disk mounted?"},
		"a newer format":                   {"", holds(identity("2", mine)), "use a newer one"},
		"a newer format that looks unlike": {"", holds(`{"formatVersion":2,"id":7}`), "use a newer one"},
		"no format":                        {"", holds(`{"id":"` + mine + `"}`), "damaged"},
		"no id":                            {"", holds(`{"formatVersion":1}`), "damaged"},
		"half an identity":                 {"", holds(identity("1", mine)[:30]), "damaged"},
		"an empty identity":                {"", holds(""), "damaged"},
		"points without an identity": {"", func(t *testing.T, dir string) { mkdir(t, filepath.Join(dir, "points")) },
			"restore that file"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "sink")
			mkdir(t, dir)
			if test.prepare != nil {
				test.prepare(t, dir)
			}
			before := contents(t, dir)
			_, err := file.Open(t.Context(), dir, test.known, file.Options{})
			if !errors.Is(err, sink.ErrUnavailable) {
				t.Errorf("the error is %v, want %v", err, sink.ErrUnavailable)
			}
			if err != nil && (!strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), dir)) {
				t.Errorf("the error is %q, want one with the folder and %q", err, test.says)
			}
			same(t, before, contents(t, dir))
		})
	}
}

// holds returns what puts an identity into a folder.
func holds(identity string) func(*testing.T, string) {
	return func(t *testing.T, dir string) {
		must(t, os.WriteFile(filepath.Join(dir, "holdfast.json"), []byte(identity), 0o600))
	}
}

func TestOpenKnown(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	again, err := file.Open(t.Context(), dir, s.ID(), file.Options{})
	must(t, err)
	if again.ID() != s.ID() || again.Path("") != dir {
		t.Errorf("the sink is %s at %s, want %s at %s", again.ID(), again.Path(""), s.ID(), dir)
	}
}

func TestOpenExistingSetsNothingUp(t *testing.T) {
	dir := t.TempDir()
	if _, err := file.OpenExisting(t.Context(), dir, file.Options{}); !errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("the error is %v, want %v", err, sink.ErrUnavailable)
	}
	if found := contents(t, dir); len(found) != 0 {
		t.Errorf("it wrote %q", found)
	}
	s := open(t, dir)
	existing, err := file.OpenExisting(t.Context(), dir, file.Options{})
	must(t, err)
	if existing.ID() != s.ID() {
		t.Errorf("the id is %s, want %s", existing.ID(), s.ID())
	}
}

func TestOpenAtOnceAgreesOnOneID(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var ids [8]string
		var wg sync.WaitGroup
		for i := range ids {
			wg.Go(func() {
				s, err := file.Open(t.Context(), dir, "", file.Options{})
				if err != nil {
					t.Error(err)
					return
				}
				ids[i] = s.ID()
			})
		}
		wg.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("the ids are %q", ids)
			}
		}
		if found := contents(t, dir); len(found) != 1 {
			t.Fatalf("something temporary is left: %q", found)
		}
	}
}

// same fails the test unless both hold the same files.
func same(t *testing.T, before, after map[string]string) {
	t.Helper()
	for path, content := range before {
		if now, ok := after[path]; !ok || now != content {
			t.Errorf("%s was removed or changed", path)
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			t.Errorf("%s was written", path)
		}
	}
}

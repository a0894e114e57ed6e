package state_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/backup/notestest"
	"holdfast.io/holdfast/internal/state"
)

func TestNotes(t *testing.T) {
	notestest.Run(t, func(t *testing.T) (first, second backup.Notes) {
		dir := hold(t, t.TempDir())
		return notes(t, dir), notes(t, dir)
	})
}

// Notes outlive the process that wrote them, and are its user's alone.
func TestNotesStay(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	n := aNote(1)
	must(t, notes(t, dir).Write(&n))
	file := filepath.Join(path, "notes", n.ID()+".json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the note is not a file of its user alone: %v, %v", info, err)
	}
	must(t, dir.Close())
	list, err := notes(t, hold(t, path)).List()
	must(t, err)
	if len(list) != 1 || list[0] != n {
		t.Errorf("the notes are %+v, want %+v", list, n)
	}
}

// A damaged note is reported by its name and left as it is, and hides no other.
func TestADamagedNote(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	n, other := aNote(1), aNote(2)
	kept := notes(t, dir)
	must(t, kept.Write(&n))
	must(t, kept.Write(&other))
	torn := filepath.Join(path, "notes", "torn-1.json")
	must(t, os.WriteFile(torn, []byte(`{"job": "x`), 0o600))
	misplaced := filepath.Join(path, "notes", "misplaced-1.json")
	must(t, os.Rename(filepath.Join(path, "notes", other.ID()+".json"), misplaced))

	for range 2 {
		list, err := notes(t, dir).List()
		if len(list) != 1 || list[0] != n {
			t.Errorf("the notes are %+v, want %+v", list, n)
		}
		if err == nil || !strings.Contains(err.Error(), torn) || !strings.Contains(err.Error(), misplaced) {
			t.Errorf("the error is %v, want one that names %s and %s", err, torn, misplaced)
		}
	}
}

// What a process that died was just writing is no note, and does not stay.
func TestAHalfWrittenNote(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	kept := notes(t, dir)
	half := filepath.Join(path, "notes", ".x-1.json.123456")
	must(t, os.WriteFile(half, []byte(`{"job"`), 0o600))
	if list, err := kept.List(); err != nil || len(list) > 0 {
		t.Errorf("the notes are %+v, %v", list, err)
	}
	notes(t, dir)
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the temporary file is left: %v", err)
	}
}

func TestNotesStayInTheirFolder(t *testing.T) {
	kept := notes(t, hold(t, t.TempDir()))
	for _, point := range []string{"../x", "a/b", ".x"} {
		n := backup.Note{Point: point, Attempt: 1}
		if werr, rerr := kept.Write(&n), kept.Remove(n.ID()); werr == nil || rerr == nil {
			t.Errorf("%q is taken for an id: %v, %v", n.ID(), werr, rerr)
		}
	}
}

func aNote(attempt uint64) backup.Note {
	return backup.Note{Job: "j", Attempt: attempt, Point: "20260102T150405Z-0123abcd",
		Item: events.Item{Kind: events.ItemImage, ID: "sha256:x", Name: "app:v1"}, Sink: "default"}
}

func hold(t *testing.T, path string) *state.Dir {
	t.Helper()
	d, err := state.Hold(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func notes(t *testing.T, d *state.Dir) *state.Notes {
	t.Helper()
	n, err := d.Notes()
	must(t, err)
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

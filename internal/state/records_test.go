package state_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/state"
	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
)

func TestRecords(t *testing.T) {
	undotest.Run(t, func(t *testing.T) (first, second undo.Store) {
		dir := hold(t, t.TempDir())
		return records(t, dir), records(t, dir)
	})
}

// Records outlive the process that wrote them, and are its user's alone.
func TestRecordsStay(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	n := aRecord(1)
	must(t, records(t, dir).Write(&n))
	file := filepath.Join(path, "undo", n.ID+".json")
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the record is not a file of its user alone: %v, %v", info, err)
	}
	must(t, dir.Close())
	list, err := records(t, hold(t, path)).List()
	must(t, err)
	if len(list) != 1 || !reflect.DeepEqual(list[0], n) {
		t.Errorf("the records are %+v, want %+v", list, n)
	}
}

// A damaged record is reported by its name and left as it is, and hides no other.
func TestADamagedRecord(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	n, other := aRecord(1), aRecord(2)
	kept := records(t, dir)
	must(t, kept.Write(&n))
	must(t, kept.Write(&other))
	torn := filepath.Join(path, "undo", "torn-1.json")
	must(t, os.WriteFile(torn, []byte(`{"job": "x`), 0o600))
	misplaced := filepath.Join(path, "undo", "misplaced-1.json")
	must(t, os.Rename(filepath.Join(path, "undo", other.ID+".json"), misplaced))

	for range 2 {
		list, err := records(t, dir).List()
		if len(list) != 1 || !reflect.DeepEqual(list[0], n) {
			t.Errorf("the records are %+v, want %+v", list, n)
		}
		if err == nil || !strings.Contains(err.Error(), torn) || !strings.Contains(err.Error(), misplaced) {
			t.Errorf("the error is %v, want one that names %s and %s", err, torn, misplaced)
		}
	}
}

// What a process that died was just writing is no record, and does not stay.
func TestAHalfWrittenRecord(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	kept := records(t, dir)
	half := filepath.Join(path, "undo", ".x-1.json.123456")
	must(t, os.WriteFile(half, []byte(`{"job"`), 0o600))
	if list, err := kept.List(); err != nil || len(list) > 0 {
		t.Errorf("the records are %+v, %v", list, err)
	}
	records(t, dir)
	if _, err := os.Stat(half); !os.IsNotExist(err) {
		t.Errorf("the temporary file is left: %v", err)
	}
}

func TestRecordsStayInTheirFolder(t *testing.T) {
	kept := records(t, hold(t, t.TempDir()))
	for _, point := range []string{"../x", "a/b", ".x"} {
		n := undo.Record{Version: undo.Version, ID: undo.ID(point, 1), Attempt: 1}
		if werr, rerr := kept.Write(&n), kept.Remove(n.ID); werr == nil || rerr == nil {
			t.Errorf("%q is taken for an id: %v, %v", n.ID, werr, rerr)
		}
	}
}

func aRecord(attempt uint64) undo.Record {
	return undo.Record{Version: undo.Version, ID: undo.ID("20260102T150405Z-0123abcd", attempt), Job: "j", Attempt: attempt,
		Item:    events.Item{Kind: events.ItemImage, ID: "sha256:x", Name: "app:v1"},
		Actions: []undo.Action{{Unstage: &undo.Staging{Sink: "default", Dir: "points/x", Name: "1"}}}}
}

func hold(t *testing.T, path string) *state.Dir {
	t.Helper()
	d, err := state.Hold(path)
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func records(t *testing.T, d *state.Dir) *state.Records {
	t.Helper()
	n, err := d.Records()
	must(t, err)
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A record of a newer version is reported and left as it is.
func TestANewerRecord(t *testing.T) {
	path := t.TempDir()
	kept := records(t, hold(t, path))
	file := filepath.Join(path, "undo", "x-1.json")
	newer := fmt.Appendf(nil, `{"version": %d, "id": "x-1", "actions": [{"turnBack": {}}]}`, undo.Version+1)
	must(t, os.WriteFile(file, newer, 0o600))
	list, err := kept.List()
	if len(list) > 0 || !errors.Is(err, undo.ErrNewer) || !strings.Contains(err.Error(), file) {
		t.Errorf("listed are %+v, %v; want ErrNewer that names %s", list, err, file)
	}
	if _, err := kept.Read("x-1"); !errors.Is(err, undo.ErrNewer) {
		t.Errorf("to read it reports %v, want ErrNewer", err)
	}
	if got, err := os.ReadFile(file); err != nil || !slices.Equal(got, newer) {
		t.Errorf("it is now %s, %v", got, err)
	}
}

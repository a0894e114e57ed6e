package state_test

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/state"
)

// How the Engine reaches the registry outlives the process, and is its user's alone.
func TestRegistryStays(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	if r, err := dir.Registry(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before any is kept it is %+v, %v", r, err)
	}
	want := state.Registry{Port: 40123, User: "holdfast", Password: "secret"}
	must(t, dir.KeepRegistry(want))
	must(t, dir.Close())
	if got, err := hold(t, path).Registry(); err != nil || got != want {
		t.Errorf("the next process finds %+v, %v", got, err)
	}
	if info, err := os.Stat(filepath.Join(path, "registry.json")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it is not a file of its user alone: %v, %v", info, err)
	}
}

// A file that is damaged, or that another user may have changed, is named with what to do, and
// its password is not.
func TestADamagedRegistry(t *testing.T) {
	for name, test := range map[string]struct {
		content string
		mode    fs.FileMode
		says    string
	}{
		"torn":                {`{"user": "holdfast", "password": "secret`, 0o600, "is damaged"},
		"empty":               {"", 0o600, "is damaged"},
		"of another type":     {`{"port": "secret"}`, 0o600, "is damaged"},
		"for others to write": {`{"port": 1, "user": "u", "password": "secret"}`, 0o622, "may be changed by other users"},
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir()
			dir := hold(t, path)
			file := filepath.Join(path, "registry.json")
			must(t, os.WriteFile(file, []byte(test.content), test.mode))
			must(t, os.Chmod(file, test.mode))
			r, err := dir.Registry()
			if err == nil {
				t.Fatalf("it is taken: %+v", r)
			}
			for _, part := range []string{file, test.says, "remove it"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("the error %q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error has the password: %v", err)
			}
		})
	}
}

// What is known of bases outlives the process.
func TestBasesStay(t *testing.T) {
	path := t.TempDir()
	dir := hold(t, path)
	if all, err := dir.Bases(); err != nil || len(all) > 0 {
		t.Errorf("before any is kept they are %+v, %v", all, err)
	}
	at := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	want := map[string]state.Base{"a": {Known: true, Time: at}, "b": {Tries: 2, Next: at.Add(time.Hour), Time: at}}
	must(t, dir.KeepBases(want))
	must(t, dir.Close())
	if got, err := hold(t, path).Bases(); err != nil || !maps.Equal(got, want) {
		t.Errorf("the next process finds %+v, %v", got, err)
	}
	must(t, os.WriteFile(filepath.Join(path, "bases.json"), []byte(`{"a": {"known`), 0o600))
	if _, err := dir.Bases(); err == nil || !strings.Contains(err.Error(), "bases.json is damaged") {
		t.Errorf("a damaged file reports %v", err)
	}
}

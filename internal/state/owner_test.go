package state_test

import (
	"testing"

	"holdfast.io/holdfast/internal/state"
)

func TestSameDir(t *testing.T) {
	owners := func(path string) (all []string) {
		for range 3 {
			dir, err := state.Hold(path)
			if err != nil {
				t.Fatal(err)
			}
			owner, predecessor, err := dir.NewOwner()
			if err != nil {
				t.Fatal(err)
			}
			if len(all) > 0 && predecessor != all[len(all)-1] {
				t.Errorf("the predecessor is %q, want %q", predecessor, all[len(all)-1])
			}
			all = append(all, owner)
			if err := dir.Close(); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	a, b := owners(t.TempDir()), owners(t.TempDir())
	if a[0] == a[1] || !state.SameDir(a[0], a[2]) || state.SameDir(a[0], b[0]) || state.SameDir(a[0], "") || state.SameDir("", a[0]) {
		t.Errorf("the owners are %q and %q", a, b)
	}
}

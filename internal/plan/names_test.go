package plan

import (
	"testing"

	"holdfast.io/holdfast/internal/engine"
)

// A snapshot that is pushed to the registry of a sink has a digest there from then on, and is no image of a
// user for that. One that a user has pulled from there is his.
func TestSnapshotsThatArePushed(t *testing.T) {
	const repository, digest = "registry.example:5000/backups/web", "@sha256:1"
	snapshot := repository + ":holdfast-snapshot-20260102T150405Z-0123abcd-1"
	for name, c := range map[string]struct {
		img    engine.Image
		listed bool
	}{
		"a snapshot":                {engine.Image{References: []string{snapshot}}, false},
		"one that is pushed":        {engine.Image{References: []string{snapshot}, Digests: []string{repository + digest}}, false},
		"one that a user has named": {engine.Image{References: []string{snapshot, "mine:v1"}, Digests: []string{repository + digest}}, true},
		"an image of a point":       {engine.Image{References: []string{repository + ":20260102T150405Z-0123abcd"}, Digests: []string{repository + digest}}, true},
		"one without a tag":         {engine.Image{Digests: []string{repository + digest}}, true},
	} {
		if got := withoutSnapshots([]engine.Image{c.img}); (len(got) == 1) != c.listed {
			t.Errorf("%s: %d images are listed", name, len(got))
		}
	}
}

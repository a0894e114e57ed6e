package retention

import (
	"fmt"
	"maps"
	"slices"

	"holdfast.io/holdfast/internal/bytesize"
)

// Shrunk is the part of its usual size below which a part of the newest point makes a
// group be held back: the half. What is usual is the median of the earlier points.
const Shrunk = 0.5

// suspicion says why nothing of the group should be removed now: the newest point is
// not what the earlier ones are, so that these may be all that is left of something.
// It is empty if nothing is suspicious.
func (g *group) suspicion() string {
	for _, i := range g.visible { // the newest that was verified counts
		if d := g.points[i]; d.Verified != "" {
			if d.Verified == Failed {
				return fmt.Sprintf("point %s failed its last verification: look at it, back up anew, and verify that", d.ID)
			}
			break
		}
	}
	if len(g.visible) == 0 {
		return ""
	}
	newest := g.points[g.visible[0]]
	for part, usual := range g.usual() {
		if size := newest.Parts[part]; float64(size) < Shrunk*float64(usual) {
			return fmt.Sprintf("%s of the newest point %s has %s, and %s is usual: look at it, and protect that point if all is well",
				part, newest.ID, bytesize.Format(size), bytesize.Format(usual))
		}
	}
	return ""
}

// usual yields the parts of the points before the newest, in their order, with the
// median of their sizes; a point without a part counts as one with an empty one. Where
// somebody protected a point, what was before it does not count: that one is as it
// should be.
func (g *group) usual() func(yield func(part string, size int64) bool) {
	var earlier []Decision
	parts := map[string]bool{}
	for n, i := range g.visible {
		d := g.points[i]
		if n > 0 {
			earlier = append(earlier, d)
			for part := range d.Parts {
				parts[part] = true
			}
		}
		if d.Protected != "" {
			break
		}
	}
	return func(yield func(string, int64) bool) {
		for _, part := range slices.Sorted(maps.Keys(parts)) {
			sizes := make([]int64, len(earlier))
			for i, d := range earlier {
				sizes[i] = d.Parts[part]
			}
			slices.Sort(sizes)
			if !yield(part, sizes[(len(sizes)-1)/2]) {
				return
			}
		}
	}
}

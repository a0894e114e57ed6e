package load

import (
	"slices"
	"testing"
)

func TestLengths(t *testing.T) {
	for n, want := range map[int][]int{
		1: {1}, 2: {2, 1}, 3: {3, 2, 1}, 4: {4, 3, 2, 1}, 6: {6, 5, 4, 2, 1}, 125: {125, 124, 123, 121, 117, 109, 93, 61, 1},
	} {
		if got := lengths(n); !slices.Equal(got, want) {
			t.Errorf("of %d layers the Engine is asked for the lowest %v, want %v", n, got, want)
		}
	}
}

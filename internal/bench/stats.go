//go:build linux

package bench

import (
	"math"
	"slices"
)

// Number is what can be averaged; a time.Duration, for one.
type Number interface{ ~int64 | ~float64 }

// Quantile returns the value that the share q of the values does not exceed
// (the nearest rank). There must be a value.
func Quantile[N Number](values []N, q float64) N {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(q * float64(len(sorted))))
	return sorted[min(max(rank, 1), len(sorted))-1]
}

// Median returns the middle value, or the mean of the two in the middle. There
// must be a value.
func Median[N Number](values []N) N {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Each returns one figure of each run.
func Each[R any, N Number](runs []R, figure func(R) N) []N {
	values := make([]N, len(runs))
	for i, r := range runs {
		values[i] = figure(r)
	}
	return values
}

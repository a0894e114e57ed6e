//go:build linux

package bench

import (
	"testing"
	"time"
)

func TestQuantileIsTheNearestRank(t *testing.T) {
	var values []int64
	for i := range int64(200) {
		values = append(values, 200-i)
	}
	for q, want := range map[float64]int64{0: 1, 0.5: 100, 0.99: 198, 1: 200} {
		if got := Quantile(values, q); got != want {
			t.Errorf("quantile %v of 1 to 200 is %d, not %d", q, got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	tests := []struct {
		values []time.Duration
		want   time.Duration
	}{
		{[]time.Duration{7}, 7},
		{[]time.Duration{9, 1, 5}, 5},
		{[]time.Duration{8, 1, 4, 2}, 3},
	}
	for _, tt := range tests {
		if got := Median(tt.values); got != tt.want {
			t.Errorf("the median of %v is %v, not %v", tt.values, got, tt.want)
		}
	}
}

package main

import (
	"testing"
	"time"
)

func TestParseMoment(t *testing.T) {
	now := time.Date(2026, 3, 31, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"":                          {},
		"2026-03-01T00:00:00Z":      time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC),
		"2026-03-01T00:00:00+01:00": time.Date(2026, 2, 28, 23, 0, 0, 0, time.UTC),
		"30d":                       time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		"1d12h":                     time.Date(2026, 3, 30, 0, 0, 0, 0, time.UTC),
		"90m":                       time.Date(2026, 3, 31, 10, 30, 0, 0, time.UTC),
		"0d":                        now,
		"0s":                        now,
	} {
		if got, err := parseMoment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"x", "d", "30", "-1d", "1.5d", "-5m", "1d-5m", "12h1d", "1d1d", "99999999d", "2026-03-01", " 1d",
		"20000d2500000h"} {
		if got, err := parseMoment(text, now); err == nil {
			t.Errorf("%q is %s, want that it is refused", text, got)
		}
	}
}

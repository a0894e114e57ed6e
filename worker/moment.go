package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// parseMoment reads a time of RFC 3339, or how long before now it is, as parseAge
// reads it. The zero time stands for no text.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	age, err := parseAge(text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is neither a time as in 2026-01-31T18:00:00Z nor how long ago, as in 30d or 12h", text)
	}
	return now.Add(-age), nil
}

// parseAge reads a duration as Go writes it, that may begin with a number of days of
// 24 hours: "30d", "1d12h", "90m".
func parseAge(text string) (time.Duration, error) {
	bad := fmt.Errorf("%q is no duration as in 30d, 1d12h or 90m", text)
	count, rest, found := strings.Cut(text, "d")
	if !found {
		count, rest = "0", text
	}
	n, err := strconv.ParseUint(count, 10, 15) // some 90 years
	if err != nil {
		return 0, bad
	}
	days := time.Duration(n) * 24 * time.Hour
	if rest == "" && found {
		return days, nil
	}
	more, err := time.ParseDuration(rest)
	if err != nil || more < 0 || more > math.MaxInt64-days {
		return 0, bad
	}
	return days + more, nil
}

package unserved

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"
)

// absence is what is known of a host that requests lie for.
type absence struct {
	// since is when it was first seen that nobody serves the host; zero while it is
	// served.
	since time.Time
	// reported is the sequence of the last request for it that was reported.
	reported uint64
}

// decide returns what is known of the hosts that requests lie for, after what was
// known before, and those whose requests self has to report now. A host that was
// served meanwhile is waited for anew. decide is a pure function.
func decide(now time.Time, self string, queued, locked []string, before map[string]absence) (after map[string]absence, due []string) {
	after = map[string]absence{}
	for _, host := range queued {
		state := before[host]
		switch {
		case host == self || slices.Contains(locked, host):
			state.since = time.Time{}
		case state.since.IsZero():
			state.since = now
		case now.Sub(state.since) >= patience && reporter(host, locked) == self:
			due = append(due, host)
		}
		after[host] = state
	}
	return after, due
}

// reporter returns who of those that serve reports a host's requests: the one with
// the highest hash together with the host. When another one comes or goes, it
// stays the same in most cases.
func reporter(host string, serving []string) string {
	var chosen string
	var highest [sha256.Size]byte
	for _, s := range serving {
		if sum := sha256.Sum256([]byte(s + "\x00" + host)); chosen == "" || bytes.Compare(sum[:], highest[:]) > 0 {
			chosen, highest = s, sum
		}
	}
	return chosen
}

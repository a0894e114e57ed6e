package sftp

import (
	"testing"
	"time"
)

// A server that writes to its disk says nothing for long, and one that is dead does not either.
func TestOverdue(t *testing.T) {
	bounds := times{stall: 30 * time.Second, sync: 10 * time.Minute, idle: time.Minute}
	for name, c := range map[string]struct {
		calls, syncs int
		still, asked time.Duration // for how long; it was asked and has not answered, if asked is not 0
		want         bool
	}{
		"not used for a while":                     {still: 59 * time.Second},
		"not used":                                 {still: 61 * time.Second, want: true},
		"an answer is due":                         {calls: 1, still: 29 * time.Second},
		"nothing moves":                            {calls: 1, still: 31 * time.Second, want: true},
		"a sync has begun":                         {calls: 1, syncs: 1, still: 31 * time.Second, asked: 5 * time.Second},
		"a sync, and the server does not live":     {calls: 2, syncs: 1, still: 40 * time.Second, asked: 31 * time.Second, want: true},
		"a sync, and others' bytes move before it": {calls: 2, syncs: 1, still: time.Second, asked: 31 * time.Second},
		"a sync that does not end":                 {calls: 1, syncs: 1, still: 11 * time.Minute, asked: time.Second, want: true},
	} {
		now := time.Now()
		l := &link{times: bounds, calls: c.calls, syncs: c.syncs, moved: now.Add(-c.still)}
		if c.asked > 0 {
			l.asked = now.Add(-c.asked)
		}
		if got := l.overdue(now); got != c.want {
			t.Errorf("%s: overdue is %t, want %t", name, got, c.want)
		}
		if began := l.begin(0); began == (c.calls == 0 && c.want) {
			t.Errorf("%s: a call begins: %t", name, began)
		}
	}
}

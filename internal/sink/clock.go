package sink

import (
	"fmt"
	"time"
)

// maxSkew is by how much the clocks of this machine and of a sink may differ.
const maxSkew = time.Minute

// ClockCaveats says what follows if the clock of a sink differs from this machine's: it gave
// the time stored to what was stored between began and ended. Nothing follows from a zero
// time, which is not known.
func ClockCaveats(began, ended, stored time.Time) []string {
	direction, by := "ahead of", stored.Sub(ended)
	if behind := began.Sub(stored); behind > by {
		direction, by = "behind", behind
	}
	if stored.IsZero() || by <= maxSkew {
		return nil
	}
	return []string{fmt.Sprintf("its clock is about %s %s this machine's; set the one that is wrong: limitHours, the times in logs and the "+
		"ages that are shown go by this machine's, and S3 and Azure refuse every request when the two differ by 15 minutes",
		by.Round(time.Minute), direction)}
}

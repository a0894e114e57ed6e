// Package sample is the program in the demo's container: it keeps writing. It
// imports only the standard library, because the demo also builds it by itself.
package sample

import (
	"fmt"
	"os"
	"time"
)

// Path is the file that Write appends to.
const Path = "/data/log"

// Interval is the time between two lines.
const Interval = 10 * time.Millisecond

// Write appends a line with a number and the time, in nanoseconds since 1970,
// again and again, and returns only with an error.
func Write() error {
	f, err := os.OpenFile(Path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for n := 1; ; n++ {
		if _, err := fmt.Fprintf(f, "%d %d\n", n, time.Now().UnixNano()); err != nil {
			return err
		}
		time.Sleep(Interval)
	}
}

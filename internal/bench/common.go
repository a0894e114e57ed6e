//go:build linux

// Package bench has what the benchmarks share: the programs that they run, images
// and containers of known content, a worker in a process of its own, and figures.
package bench

import (
	"fmt"
	"os"
	"time"
)

// Both ways compress with the same effort.
const (
	Level   = 3 // of the zstd tool
	Threads = 2
)

const megabyte = 1_000_000

// RemoveBound is how long the removal may take at the end.
const RemoveBound = 5 * time.Minute

// Say tells people what is going on.
func Say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

//go:build crash

package step

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// stopping is how long a signal may take to stop all threads. What calls At goes on
// later, so that nothing happens before the process has stopped.
const stopping = 500 * time.Millisecond

var (
	mu     sync.Mutex
	passed = map[Name]int{}
)

// At tells the observers of ctx that a step has been passed. In this build it then
// kills the process as CRASH_AFTER says, and stops it (SIGSTOP) as STOP_AFTER says:
// the name of a step, and after a colon which passing is meant if it is not the
// first.
func At(ctx context.Context, name Name) {
	observed(ctx, name)
	mu.Lock()
	passed[name]++
	n := passed[name]
	mu.Unlock()
	send("CRASH_AFTER", syscall.SIGKILL, name, n)
	send("STOP_AFTER", syscall.SIGSTOP, name, n)
}

func send(variable string, signal syscall.Signal, name Name, n int) {
	want, nth, several := strings.Cut(os.Getenv(variable), ":")
	at := 1
	if several {
		var err error
		if at, err = strconv.Atoi(nth); err != nil {
			panic(fmt.Sprintf("%s: %v", variable, err))
		}
	}
	if Name(want) != name || at != n {
		return
	}
	if err := syscall.Kill(os.Getpid(), signal); err != nil {
		panic(fmt.Sprintf("%s: %v", variable, err))
	}
	if signal == syscall.SIGKILL {
		select {} // nothing may happen any more
	}
	time.Sleep(stopping)
}

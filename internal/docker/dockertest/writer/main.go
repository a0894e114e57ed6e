// Writer is what a test's container runs: it keeps writing numbered lines until
// it is asked to end. What it has written shows whether it was resumed. With the
// name of a file it makes that and ends, as a command that is run beside.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) > 1 {
		fail(os.WriteFile(os.Args[1], nil, 0o600))
		return
	}
	f, err := os.OpenFile("/data/log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	fail(err)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	for n := 1; ; n++ {
		select {
		case <-end:
			return
		case <-time.After(20 * time.Millisecond):
		}
		_, err := fmt.Fprintln(f, n)
		fail(err)
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

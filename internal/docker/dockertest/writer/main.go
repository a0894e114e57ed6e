// Writer is what a test's container runs: it keeps writing numbered lines until
// it is asked to end. What it has written shows whether it was let go.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	f, err := os.OpenFile("/data/log", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, os.Interrupt)
	for n := 1; ; n++ {
		select {
		case <-end:
			return
		case <-time.After(20 * time.Millisecond):
		}
		if _, err := fmt.Fprintln(f, n); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

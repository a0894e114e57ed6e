// Command idle is what runs in the containers of the tests: nothing, until it
// is asked to end.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	switch {
	case len(os.Args) == 3 && os.Args[1] == "namespace": // net, pid: print which one this process is in
		namespace, err := os.Readlink("/proc/self/ns/" + os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(namespace)
		return
	case len(os.Args) > 1: // end at once, with a failure
		os.Exit(1)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM, os.Interrupt)
	<-ended
}

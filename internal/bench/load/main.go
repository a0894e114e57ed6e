//go:build linux

// Command load measures Holdfast under load, in parts: one worker with many
// requests, a simulated fleet, one job of many containers, takeovers, and a fleet at
// rest. It makes its own images and containers on the Engine that DOCKER_HOST names,
// runs its own message servers, and prints a report in Markdown.
//
//	go run ./internal/bench/load
//	go run ./internal/bench/load -part fleet -hosts 40
//
// All that it makes is removed at the end, also after Ctrl-C.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"holdfast.io/holdfast/internal/bench"
)

func main() {
	var o options
	flag.StringVar(&o.part, "part", allParts, "measure this `part`: "+partNames())
	flag.StringVar(&o.dir, "dir", "/var/tmp", "the `folder` for temporary files and what is stored; choose a disk, not memory")
	flag.IntVar(&o.n, "n", 0, "how many `requests` (worker, fleet), containers (wide), deaths (takeover), or seconds (idle);\n"+
		"0 is each part's own number")
	flag.IntVar(&o.hosts, "hosts", 200, "how many `hosts` are simulated (fleet, idle)")
	flag.Parse()
	err := o.check()
	if err == nil && flag.NArg() > 0 {
		err = fmt.Errorf("%q is no flag", flag.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	if err = bench.RequirePrograms(); err == nil {
		err = run(ctx, o, os.Stdout)
	}
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "load: %v\n", err)
		os.Exit(1)
	}
}

//go:build linux

// Command benchmark measures holdfast backup beside what it stands for: docker
// commit, docker save into the zstd tool, and docker rmi. It makes its own images
// and containers on the Engine that DOCKER_HOST names, runs both ways in turn, and
// prints a report in Markdown. It also measures what a worker costs that has
// nothing to do, and how soon a request is carried out.
//
// With -load it measures Holdfast under load instead, in parts: one worker with
// many requests, a simulated fleet, one job of many containers, takeovers, and a
// fleet at rest.
//
//	go run ./internal/benchmark
//	go run ./internal/benchmark -load all
//	deploy/engine/engine run DIR -- go run ./internal/benchmark
//
// All that it makes is removed at the end, also after Ctrl-C.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Both ways compress with the same effort.
const (
	level   = 3 // of the zstd tool
	threads = 2
)

const megabyte = 1_000_000

// The sizes of the containers' writable layers, in megabytes.
const (
	smallLayer = 1
	largeLayer = 250
)

// bigFactor is how many times larger the big image is.
const bigFactor = 5

// removeBound is how long the removal may take at the end.
const removeBound = 5 * time.Minute

// options are the flags.
type options struct {
	rounds int
	size   int // of the image, in megabytes
	big    bool
	dir    string
}

func main() {
	var o options
	var load loadOptions
	flag.IntVar(&o.rounds, "rounds", 3, "how `often` each way is measured")
	flag.IntVar(&o.size, "size", 1000, "the image's size in `MB`")
	flag.BoolVar(&o.big, "big", true, fmt.Sprintf("measure the memory with an image %d times as large, too", bigFactor))
	flag.StringVar(&o.dir, "dir", "/var/tmp", "the `folder` for temporary files and what is stored; choose a disk, not memory")
	flag.StringVar(&load.part, "load", "", "measure under load this `part`, or all: "+partNames())
	flag.IntVar(&load.n, "n", 0, "with -load: how many `requests` (worker, fleet), containers (wide), deaths (takeover), or seconds (idle); 0 is each part's own number")
	flag.IntVar(&load.hosts, "hosts", 200, "with -load: how many `hosts` are simulated (fleet, idle)")
	flag.Parse()
	load.dir = o.dir
	bad := flag.NArg() > 0 || o.rounds < 1 || o.size < 1
	if load.part != "" && !bad {
		if err := load.check(); err != nil {
			fmt.Fprintf(os.Stderr, "benchmark: %v\n", err)
			bad = true
		}
	}
	if bad {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	err := measure(ctx, o, load)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "benchmark: %v\n", err)
		os.Exit(1)
	}
}

func measure(ctx context.Context, o options, load loadOptions) error {
	if err := requirePrograms(); err != nil {
		return err
	}
	if load.part != "" {
		return runLoad(ctx, load, os.Stdout)
	}
	return run(ctx, o)
}

func run(ctx context.Context, o options) (err error) {
	b, err := start(ctx, o)
	defer func() {
		say("removing what was made")
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeBound)
		defer cancel()
		err = errors.Join(err, b.close(bound))
	}()
	if err != nil {
		return err
	}
	r, err := b.measure(ctx)
	if err != nil {
		return err
	}
	return r.write(os.Stdout)
}

// say tells people what is going on.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

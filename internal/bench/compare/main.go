//go:build linux

// Command compare measures holdfast backup beside what it stands for: docker
// commit, docker save into the zstd tool, and docker rmi. It makes its own images
// and containers on the Engine that DOCKER_HOST names, runs both ways in turn, and
// prints a report in Markdown. It also measures what a worker costs that has
// nothing to do, and how soon a request is carried out.
//
//	go run ./internal/bench/compare
//	deploy/engine/engine run DIR -- go run ./internal/bench/compare
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

	"holdfast.io/holdfast/internal/bench"
)

// The sizes of the containers' writable layers, in megabytes.
const (
	smallLayer = 1
	largeLayer = 250
)

// bigFactor is how many times larger the big image is.
const bigFactor = 5

// options are the flags.
type options struct {
	rounds int
	size   int // of the image, in megabytes
	big    bool
	dir    string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how `often` each way is measured")
	flag.IntVar(&o.size, "size", 1000, "the image's size in `MB`")
	flag.BoolVar(&o.big, "big", true, fmt.Sprintf("measure the memory with an image %d times as large, too", bigFactor))
	flag.StringVar(&o.dir, "dir", "/var/tmp", "the `folder` for temporary files and what is stored; choose a disk, not memory")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.size < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "compare: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if err := bench.RequirePrograms(); err != nil {
		return err
	}
	b, err := start(ctx, o)
	defer func() {
		bench.Say("removing what was made")
		bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), bench.RemoveBound)
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

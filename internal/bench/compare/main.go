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
// A report on both kinds of image store needs two runs, of which the first one prints what the
// second one has beside its own; make bench does that. Its worker must be in the network of
// the Engine, which pushes to it:
//
//	deploy/engine/engine exec DIR -- go run ./internal/bench/compare -json >other.json
//	go run ./internal/bench/compare -beside other.json
//
// All that it makes is removed at the end, also after Ctrl-C.
package main

import (
	"context"
	"encoding/json"
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
	layers bool     // measures nothing but sinks that store what is new alone
	json   bool     // measures nothing but such a sink for images, and prints JSON
	beside *layered // of another run; nil for none
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how `often` each way is measured")
	flag.IntVar(&o.size, "size", 1000, "the image's size in `MB`")
	flag.BoolVar(&o.big, "big", true, fmt.Sprintf("measure the memory with an image %d times as large, too", bigFactor))
	flag.StringVar(&o.dir, "dir", "/var/tmp", "the `folder` for temporary files and what is stored; choose a disk, not memory")
	flag.BoolVar(&o.layers, "layers", false, "measure nothing but sinks that store each layer, and each piece of a volume, once")
	flag.BoolVar(&o.json, "json", false, "measure nothing but a sink that stores each layer once, and print that in JSON, for -beside")
	beside := flag.String("beside", "", "a `file` with what -json has printed with another Engine, which the report then has beside")
	flag.Parse()
	if flag.NArg() > 0 || o.rounds < 1 || o.size < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if *beside != "" {
		var err error
		if o.beside, err = readLayered(*beside); err != nil {
			fail(err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the program at once.
	context.AfterFunc(ctx, stop)
	err := run(ctx, o)
	stop()
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintf(os.Stderr, "compare: %v\n", err)
	os.Exit(1)
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
	if o.json {
		l, err := b.layered(ctx)
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(l)
	}
	r, err := b.measure(ctx)
	if err != nil {
		return err
	}
	return r.write(os.Stdout)
}

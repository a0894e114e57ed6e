//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"

	"holdfast.io/holdfast/internal/bench"
)

// session is one run of the benchmark, with all that it makes.
type session struct {
	options
	bench.Programs
	fixture  *bench.Fixture
	baseline *baseline
	serving  *bench.Holdfast // asks the worker
	alone    *bench.Holdfast // is its own worker
	worker   *bench.Worker
	machine  machine
}

// start makes a folder, builds the programs and starts the worker. The caller
// calls close, also after an error.
func start(ctx context.Context, o options) (b *session, err error) {
	b = &session{options: o, Programs: bench.NewPrograms()}
	if b.dir, err = os.MkdirTemp(o.dir, "holdfast-benchmark-"); err != nil {
		return b, fmt.Errorf("%w; choose another folder with -dir", err)
	}
	b.baseline = &baseline{Programs: b.Programs, dir: b.dir}
	bench.Say("building the programs")
	if b.fixture, err = bench.NewFixture(ctx, b.Programs, uuid.NewString()[:8], b.dir); err != nil {
		return b, err
	}
	program := filepath.Join(b.dir, "holdfast")
	if err := b.Build(ctx, program, "holdfast.io/holdfast/worker"); err != nil {
		return b, err
	}
	if b.serving, err = bench.NewHoldfast(b.Programs, program, filepath.Join(b.dir, "serving")); err != nil {
		return b, err
	}
	if b.alone, err = bench.NewHoldfast(b.Programs, program, filepath.Join(b.dir, "alone")); err != nil {
		return b, err
	}
	if b.worker, err = b.serving.Serve(ctx); err != nil {
		return b, err
	}
	b.machine, err = describe(ctx, b.Programs, b.serving.Path)
	return b, err
}

// close removes all that was made.
func (b *session) close(ctx context.Context) error {
	var errs error
	if b.worker != nil {
		errs = b.worker.Stop()
	}
	if b.fixture != nil {
		errs = errors.Join(errs, b.fixture.Remove(ctx))
	}
	if b.baseline != nil {
		errs = errors.Join(errs, os.RemoveAll(b.dir))
	}
	return errs
}

// measure takes all figures, or those of sinks that store what is new alone.
func (b *session) measure(ctx context.Context) (*report, error) {
	r := &report{rounds: b.rounds, machine: b.machine, began: time.Now()}
	if err := b.shared(ctx, r); err != nil || b.layers {
		return r, err
	}
	var err error
	if r.fresh, err = b.worker.Rest(ctx); err != nil {
		return nil, err
	}
	if r.latencies, err = b.latencies(ctx); err != nil {
		return nil, err
	}
	if r.comparisons, err = b.comparisons(ctx); err != nil {
		return nil, err
	}
	if b.big {
		big, err := b.bigImage(ctx)
		if err != nil {
			return nil, err
		}
		r.comparisons = append(r.comparisons, big)
	}
	if r.used, err = b.worker.Rest(ctx); err != nil {
		return nil, err
	}
	r.pairs, r.outages, err = b.volumesAndRestores(ctx)
	return r, err
}

// shared measures sinks that store what is new alone.
func (b *session) shared(ctx context.Context, r *report) (err error) {
	own, err := b.layered(ctx)
	if err != nil {
		return err
	}
	r.layered = append(r.layered, own)
	if b.beside != nil {
		r.layered = append(r.layered, b.beside)
	}
	r.pieces, err = b.pieces(ctx)
	return err
}

// latencies measures the latency with an image of nothing but a program.
func (b *session) latencies(ctx context.Context) ([]latency, error) {
	image, err := b.fixture.Base(ctx)
	if err != nil {
		return nil, err
	}
	container, err := b.fixture.Container(ctx, image, "tiny", 0)
	if err != nil {
		return nil, err
	}
	bench.Say("%d requests, one after another", requests)
	return measureLatency(ctx, b.worker.Endpoint, container)
}

// comparison is what was measured with one container.
type comparison struct {
	image, layer   int // megabytes
	baseline       []baselineRun
	serving, alone []bench.HoldfastRun
	// peak is the largest resident memory of the worker in any of its runs.
	peak int64
}

// comparisons measures both ways with a small and a large writable layer.
func (b *session) comparisons(ctx context.Context) ([]comparison, error) {
	bench.Say("making an image of %d MB", b.size)
	image, err := b.fixture.Image(ctx, "base", b.size)
	if err != nil {
		return nil, err
	}
	var all []comparison
	for _, layer := range []int{smallLayer, largeLayer} {
		container, err := b.fixture.Container(ctx, image, fmt.Sprintf("%d-mb", layer), layer)
		if err != nil {
			return nil, err
		}
		c := comparison{image: b.size, layer: layer}
		for round := range b.rounds {
			bench.Say("%d MB image, %d MB layer: round %d of %d", c.image, c.layer, round+1, b.rounds)
			if err := b.round(ctx, &c, container, round%2 == 1); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// bigImage measures one backup of a big image.
func (b *session) bigImage(ctx context.Context) (c comparison, err error) {
	c = comparison{image: bigFactor * b.size, layer: smallLayer}
	bench.Say("making an image of %d MB", c.image)
	image, err := b.fixture.Image(ctx, "big", c.image)
	if err != nil {
		return c, err
	}
	container, err := b.fixture.Container(ctx, image, "big", c.layer)
	if err != nil {
		return c, err
	}
	bench.Say("%d MB image, %d MB layer", c.image, c.layer)
	return c, b.runServing(ctx, &c, container)
}

// round measures each way once. Every other round is in the reverse order, so
// that nobody always comes after the same one.
func (b *session) round(ctx context.Context, c *comparison, container string, reverse bool) error {
	ways := []func(ctx context.Context, c *comparison, container string) error{b.runBaseline, b.runServing, b.runAlone}
	if reverse {
		slices.Reverse(ways)
	}
	for _, way := range ways {
		// What was written before must not have to be written during the next one.
		if _, err := b.Output(ctx, nil, "sync"); err != nil {
			return err
		}
		if err := way(ctx, c, container); err != nil {
			return err
		}
	}
	return nil
}

func (b *session) runBaseline(ctx context.Context, c *comparison, container string) error {
	run, err := b.baseline.backup(ctx, container, zstd)
	c.baseline = append(c.baseline, run)
	return err
}

func (b *session) runServing(ctx context.Context, c *comparison, container string) error {
	if err := b.worker.ResetPeak(); err != nil {
		return err
	}
	run, err := b.serving.Backup(ctx, container)
	if err != nil {
		return err
	}
	c.serving = append(c.serving, run)
	peak, err := b.worker.Peak()
	c.peak = max(c.peak, peak)
	return err
}

func (b *session) runAlone(ctx context.Context, c *comparison, container string) error {
	run, err := b.alone.Backup(ctx, container, "--sink", b.alone.Sink)
	c.alone = append(c.alone, run)
	return err
}

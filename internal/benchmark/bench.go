//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
)

// bench is one run of the benchmark, with all that it makes.
type bench struct {
	options
	programs
	fixture  *fixture
	baseline *baseline
	serving  *holdfast // asks the worker
	alone    *holdfast // is its own worker
	worker   *worker
}

// start makes a folder, builds the programs and starts the worker. The caller
// calls close, also after an error.
func start(ctx context.Context, o options) (b *bench, err error) {
	b = &bench{options: o, programs: newPrograms()}
	if b.dir, err = os.MkdirTemp(o.dir, "holdfast-benchmark-"); err != nil {
		return b, fmt.Errorf("%w; choose another folder with -dir", err)
	}
	b.baseline = &baseline{programs: b.programs, dir: b.dir}
	say("building the programs")
	if b.fixture, err = newFixture(ctx, b.programs, uuid.NewString()[:8], b.dir); err != nil {
		return b, err
	}
	program := filepath.Join(b.dir, "holdfast")
	if err := b.build(ctx, program, "holdfast.io/holdfast/worker"); err != nil {
		return b, err
	}
	if b.serving, err = newHoldfast(b.programs, program, filepath.Join(b.dir, "serving")); err != nil {
		return b, err
	}
	if b.alone, err = newHoldfast(b.programs, program, filepath.Join(b.dir, "alone")); err != nil {
		return b, err
	}
	b.worker, err = b.serving.serve(ctx)
	return b, err
}

// close removes all that was made.
func (b *bench) close(ctx context.Context) error {
	var errs error
	if b.worker != nil {
		errs = b.worker.stop()
	}
	if b.fixture != nil {
		errs = errors.Join(errs, b.fixture.remove(ctx))
	}
	if b.baseline != nil {
		errs = errors.Join(errs, os.RemoveAll(b.dir))
	}
	return errs
}

// measure takes all figures.
func (b *bench) measure(ctx context.Context) (*report, error) {
	r := &report{rounds: b.rounds}
	var err error
	if r.machine, err = describe(ctx, b.programs, b.serving.path); err != nil {
		return nil, err
	}
	if r.fresh, err = b.worker.rest(ctx); err != nil {
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
	r.used, err = b.worker.rest(ctx)
	return r, err
}

// latencies measures the latency with an image of nothing but a program.
func (b *bench) latencies(ctx context.Context) ([]latency, error) {
	image, err := b.fixture.base(ctx)
	if err != nil {
		return nil, err
	}
	container, err := b.fixture.container(ctx, image, "tiny", 0)
	if err != nil {
		return nil, err
	}
	say("%d requests, one after another", requests)
	return measureLatency(ctx, b.worker.Endpoint, container)
}

// comparison is what was measured with one container.
type comparison struct {
	image, layer   int // megabytes
	baseline       []baselineRun
	serving, alone []holdfastRun
	// peak is the largest resident memory of the worker in any of its runs.
	peak int64
}

// comparisons measures both ways with a small and a large writable layer.
func (b *bench) comparisons(ctx context.Context) ([]comparison, error) {
	say("making an image of %d MB", b.size)
	image, err := b.fixture.image(ctx, "base", b.size)
	if err != nil {
		return nil, err
	}
	var all []comparison
	for _, layer := range []int{smallLayer, largeLayer} {
		container, err := b.fixture.container(ctx, image, fmt.Sprintf("%d-mb", layer), layer)
		if err != nil {
			return nil, err
		}
		c := comparison{image: b.size, layer: layer}
		for round := range b.rounds {
			say("%d MB image, %d MB layer: round %d of %d", c.image, c.layer, round+1, b.rounds)
			if err := b.round(ctx, &c, container, round%2 == 1); err != nil {
				return nil, err
			}
		}
		all = append(all, c)
	}
	return all, nil
}

// bigImage measures one backup of a big image.
func (b *bench) bigImage(ctx context.Context) (c comparison, err error) {
	c = comparison{image: bigFactor * b.size, layer: smallLayer}
	say("making an image of %d MB", c.image)
	image, err := b.fixture.image(ctx, "big", c.image)
	if err != nil {
		return c, err
	}
	container, err := b.fixture.container(ctx, image, "big", c.layer)
	if err != nil {
		return c, err
	}
	say("%d MB image, %d MB layer", c.image, c.layer)
	return c, b.runServing(ctx, &c, container)
}

// round measures each way once. Every other round is in the reverse order, so
// that nobody always comes after the same one.
func (b *bench) round(ctx context.Context, c *comparison, container string, reverse bool) error {
	ways := []func(ctx context.Context, c *comparison, container string) error{b.runBaseline, b.runServing, b.runAlone}
	if reverse {
		slices.Reverse(ways)
	}
	for _, way := range ways {
		// What was written before must not have to be written during the next one.
		if _, err := b.output(ctx, nil, "sync"); err != nil {
			return err
		}
		if err := way(ctx, c, container); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) runBaseline(ctx context.Context, c *comparison, container string) error {
	run, err := b.baseline.backup(ctx, container)
	c.baseline = append(c.baseline, run)
	return err
}

func (b *bench) runServing(ctx context.Context, c *comparison, container string) error {
	if err := b.worker.resetPeak(); err != nil {
		return err
	}
	run, err := b.serving.backup(ctx, container)
	if err != nil {
		return err
	}
	c.serving = append(c.serving, run)
	peak, err := b.worker.peak()
	c.peak = max(c.peak, peak)
	return err
}

func (b *bench) runAlone(ctx context.Context, c *comparison, container string) error {
	run, err := b.alone.backup(ctx, container, "--sink", b.alone.sink)
	c.alone = append(c.alone, run)
	return err
}

//go:build linux

package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

// manyFiles is how many files the volume of small files has.
const manyFiles = 100_000

// pair is a piece of work that was done in two ways in turn.
type pair struct {
	what, other  string // the work, and the other way
	goal         string // of the ratio
	theirs, ours []time.Duration
	// peak is the largest resident memory of Holdfast in any of its runs.
	peak int64
}

// outage is one restore in a container's own place, and what the Engine's own commands
// take for the parts of it that cannot be avoided.
type outage struct {
	stop, start, replaced time.Duration
}

// volumesAndRestores measures how volumes are read and points come back. It removes all
// that was made before: a layer that is there already is not loaded.
func (b *session) volumesAndRestores(ctx context.Context) (pairs []pair, outages []outage, err error) {
	for _, v := range []struct {
		what        string
		size, files int
	}{{fmt.Sprintf("volume of %d MB", b.size), b.size, 0}, {fmt.Sprintf("volume of %d small files", manyFiles), 0, manyFiles}} {
		p, err := b.volume(ctx, v.what, v.size, v.files)
		if err != nil {
			return nil, nil, err
		}
		pairs = append(pairs, p)
	}
	if outages, err = b.replace(ctx); err != nil {
		return nil, nil, err
	}
	p, err := b.restore(ctx)
	return append(pairs, p), outages, err
}

// inTurn does both ways in each round, every other one in the reverse order.
func (b *session) inTurn(ctx context.Context, p *pair, theirs func() error, ours func() (time.Duration, int64, error)) error {
	ways := []func() error{
		func() error {
			began := time.Now()
			err := theirs()
			p.theirs = append(p.theirs, time.Since(began))
			return err
		},
		func() error {
			took, peak, err := ours()
			p.ours, p.peak = append(p.ours, took), max(p.peak, peak)
			return err
		},
	}
	for round := range b.rounds {
		bench.Say("%s: round %d of %d", p.what, round+1, b.rounds)
		for i := range ways {
			// What was written before must not have to be written during the next one.
			if _, err := b.Output(ctx, nil, "sync"); err != nil {
				return err
			}
			if err := ways[(i+round)%len(ways)](); err != nil {
				return err
			}
		}
	}
	return nil
}

// volume measures how a volume is read.
func (b *session) volume(ctx context.Context, what string, size, files int) (pair, error) {
	p := pair{what: what, other: "docker run … tar | zstd", goal: "≤ 1.1"}
	bench.Say("making a %s", what)
	image, err := b.fixture.Tar(ctx)
	if err != nil {
		return p, err
	}
	volume, err := b.fixture.Volume(ctx, image, fmt.Sprintf("volume-%d-%d", size, files), size, files)
	if err != nil {
		return p, err
	}
	return p, b.inTurn(ctx, &p, func() error {
		_, err := b.tarVolume(ctx, image, volume)
		return err
	}, func() (time.Duration, int64, error) {
		if err := b.worker.ResetPeak(); err != nil {
			return 0, 0, err
		}
		run, err := b.serving.Backup(ctx, "--volume", volume)
		if err != nil {
			return 0, 0, err
		}
		peak, err := b.worker.Peak()
		return run.Time(), peak, err
	})
}

// replace measures for how long a container is away that is restored in its own place.
func (b *session) replace(ctx context.Context) ([]outage, error) {
	image, err := b.fixture.Base(ctx)
	if err != nil {
		return nil, err
	}
	container, err := b.fixture.Container(ctx, image, "replaced", smallLayer)
	if err != nil {
		return nil, err
	}
	point, err := b.alone.Store(ctx, "--sink", b.alone.Sink, container)
	if err != nil {
		return nil, err
	}
	var outages []outage
	for round := range b.rounds {
		bench.Say("restore in place: round %d of %d", round+1, b.rounds)
		stop, err := b.timed(ctx, "stop", container)
		if err != nil {
			return nil, err
		}
		start, err := b.timed(ctx, "start", container)
		if err != nil {
			return nil, err
		}
		run, err := b.alone.Restore(ctx, point.Point, "--replace", "--gate", "1s")
		if err != nil {
			return nil, err
		}
		outages = append(outages, outage{stop: stop, start: start, replaced: run.NotRunning})
	}
	return outages, nil
}

// timed runs the docker command, and says how long it took.
func (b *session) timed(ctx context.Context, args ...string) (time.Duration, error) {
	began := time.Now()
	_, err := b.Docker(ctx, args...)
	return time.Since(began), err
}

// restore measures how an image comes back.
func (b *session) restore(ctx context.Context) (pair, error) {
	p := pair{what: fmt.Sprintf("restore of an image of %d MB", b.size), other: "zstd -dc | docker load", goal: "≤ 1.05"}
	bench.Say("making an image of %d MB", b.size)
	image, err := b.fixture.Image(ctx, "restored", b.size)
	if err != nil {
		return p, err
	}
	point, err := b.alone.Store(ctx, "--sink", b.alone.Sink, "--image", image)
	if err != nil {
		return p, err
	}
	if err := b.fixture.Remove(ctx); err != nil {
		return p, err
	}
	file := filepath.Join(b.alone.Sink, point.Path, "image.tar.zst")
	return p, b.inTurn(ctx, &p, func() error {
		if err := load(ctx, b.Programs, file); err != nil {
			return err
		}
		_, err = b.Docker(ctx, "rmi", point.ImageID)
		return err
	}, func() (time.Duration, int64, error) {
		began := time.Now()
		run, err := b.alone.Restore(ctx, point.Point, "--as", "image")
		if err != nil {
			return 0, 0, err
		}
		_, err = b.Docker(ctx, "rmi", "holdfast/restored:"+point.Point)
		return time.Since(began), run.Peak, err
	})
}

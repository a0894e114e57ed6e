//go:build linux

package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

// several is how many containers of one base are backed up at once.
const several = 10

// scripts are the ways of the docker command with a container whose backup is measured with
// a sink that stores each layer once.
type scripts struct {
	zstd, gzip []time.Duration // docker commit, docker save into the tool, docker rmi
	save       []time.Duration // docker save alone, of the image
	load       []time.Duration // what the zstd tool reads from the script's archive, into docker load; the base is there
}

// layeredRow is what was measured of one job with such a sink.
type layeredRow struct {
	what string
	took []time.Duration
	// written is how much larger the sink was after it, in bytes.
	written []int64
	// peak is the largest resident memory of who did the work.
	peak int64
	// against are the script's times that it is held against, and goal that of the ratio.
	against func(*scripts) []time.Duration
	goal    string
}

func scriptWithZstd(s *scripts) []time.Duration { return s.zstd }
func loading(s *scripts) []time.Duration        { return s.load }

// layered is what was measured with a sink that stores each layer once.
type layered struct {
	scripts scripts
	rows    []*layeredRow
}

// layers measures backups into a sink that stores each layer once, a new one each round.
func (b *session) layers(ctx context.Context) (*layered, error) {
	bench.Say("making an image of %d MB", b.size)
	image, err := b.fixture.Image(ctx, "layers", b.size)
	if err != nil {
		return nil, err
	}
	var l layered
	for round := range b.rounds {
		bench.Say("each layer once: round %d of %d", round+1, b.rounds)
		if err := b.layeredRound(ctx, &l, image, round); err != nil {
			return nil, err
		}
	}
	return &l, nil
}

// layeredRound measures each job once.
func (b *session) layeredRound(ctx context.Context, l *layered, image string, round int) (err error) {
	dir := filepath.Join(b.dir, fmt.Sprint("layered-", round))
	h, err := bench.NewLayered(b.Programs, b.serving.Path, dir)
	if err != nil {
		return err
	}
	worker, err := h.Serve(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if stopped := worker.Stop(); err == nil {
			err = stopped
		}
		_ = os.RemoveAll(dir)
	}()
	first, err := b.fixture.Container(ctx, image, fmt.Sprint("layers-", round), smallLayer)
	if err != nil {
		return err
	}
	if err := b.script(ctx, &l.scripts, image, first); err != nil {
		return err
	}
	return (&layeredSteps{session: b, layered: l, holdfast: h, worker: worker, image: image, first: first, round: round}).all(ctx)
}

// script measures the ways of the docker command.
func (b *session) script(ctx context.Context, s *scripts, image, container string) error {
	run, err := b.baseline.backup(ctx, container, zstd)
	if err != nil {
		return err
	}
	s.zstd = append(s.zstd, run.quick())
	if run, err = b.baseline.backup(ctx, container, gzip); err != nil {
		return err
	}
	s.gzip = append(s.gzip, run.quick())
	began := time.Now()
	_, err = b.Output(ctx, nil, "sh", "-c", `exec docker save "$1" >/dev/null`, "sh", image)
	s.save = append(s.save, time.Since(began))
	return err
}

// layeredSteps are the jobs of one round, each of which finds what those before it stored.
type layeredSteps struct {
	*session
	*layered
	holdfast *bench.Holdfast
	worker   *bench.Worker
	image    string
	first    string // the container of the round
	round    int
	done     int // how many jobs of the round are measured
	point    string
}

func (s *layeredSteps) all(ctx context.Context) error {
	seed := uint64(1000 * s.round)
	steps := []struct {
		what    string
		goal    string
		prepare func() error
	}{
		{"first", "", nil},
		{"1 MB changed; a classic store compresses the base, once", "", func() error { return s.fixture.Change(ctx, s.first, seed+1, 1) }},
		{"1 MB changed", "≥ 20 (classic), ≥ 7 (containerd)", func() error { return s.fixture.Change(ctx, s.first, seed+2, 1) }},
		{"100 MB changed", "", func() error { return s.fixture.Change(ctx, s.first, seed+3, 100) }},
		{"unchanged", "", nil},
	}
	for _, step := range steps {
		if step.prepare != nil {
			if err := step.prepare(); err != nil {
				return err
			}
		}
		if err := s.backup(ctx, step.what, step.goal, s.first); err != nil {
			return err
		}
	}
	others, err := s.others(ctx, seed)
	if err != nil {
		return err
	}
	if err := s.backup(ctx, "another container of the base, first", "as 1 MB changed", others[0]); err != nil {
		return err
	}
	if err := s.backup(ctx, fmt.Sprintf("%d containers of the base, %d of them first", several, several-1), "", others...); err != nil {
		return err
	}
	return s.restore(ctx)
}

// others makes containers of the image, each with a layer of its own.
func (s *layeredSteps) others(ctx context.Context, seed uint64) (names []string, err error) {
	for i := range uint64(several) {
		name, err := s.fixture.Container(ctx, s.image, fmt.Sprintf("layers-%d-%d", s.round, i), 0)
		if err != nil {
			return nil, err
		}
		if err := s.fixture.Change(ctx, name, seed+10+i, smallLayer); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

// row returns the next row of the round, which the first round makes.
func (s *layeredSteps) row(what, goal string, against func(*scripts) []time.Duration) *layeredRow {
	if s.done == len(s.rows) {
		s.rows = append(s.rows, &layeredRow{what: what, goal: goal, against: against})
	}
	s.done++
	return s.rows[s.done-1]
}

func (s *layeredSteps) backup(ctx context.Context, what, goal string, containers ...string) error {
	row := s.row(what, goal, scriptWithZstd)
	if _, err := s.Output(ctx, nil, "sync"); err != nil {
		return err
	}
	before, err := sizeOf(s.holdfast.Sink)
	if err != nil {
		return err
	}
	if err := s.worker.ResetPeak(); err != nil {
		return err
	}
	began := time.Now()
	done, err := s.holdfast.Store(ctx, containers...)
	took := time.Since(began)
	if err != nil {
		return err
	}
	peak, err := s.worker.Peak()
	if err != nil {
		return err
	}
	after, err := sizeOf(s.holdfast.Sink)
	row.took, row.written, row.peak = append(row.took, took), append(row.written, after-before), max(row.peak, peak)
	s.point = done.Point
	return err
}

// restore has the image of the last point come back where the base is, and the docker
// command as well.
func (s *layeredSteps) restore(ctx context.Context) error {
	row := s.row("restore, the base is there", "≥ 5", loading)
	run, err := s.holdfast.Beside(filepath.Join(s.dir, "beside")).Restore(ctx, s.point, "--as", "image")
	if err != nil {
		return err
	}
	row.took, row.peak = append(row.took, run.Took), max(row.peak, run.Peak)
	if _, err := s.Docker(ctx, "rmi", "holdfast/restored:"+s.point); err != nil {
		return err
	}
	id, err := s.Commit(ctx, s.first)
	if err != nil {
		return err
	}
	file := filepath.Join(s.dir, "loaded.tar.zst")
	defer os.Remove(file)
	if err := bench.Pipe(s.Command(ctx, "docker", "save", id), zstd(ctx, s.Programs, file)); err != nil {
		return err
	}
	if _, err := s.Docker(ctx, "rmi", id); err != nil {
		return err
	}
	began := time.Now()
	err = load(ctx, s.Programs, file)
	s.scripts.load = append(s.scripts.load, time.Since(began))
	if err != nil {
		return err
	}
	_, err = s.Docker(ctx, "rmi", id)
	return err
}

// sizeOf is how much the files below a folder hold, in bytes.
func sizeOf(dir string) (n int64, err error) {
	return n, filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += info.Size()
		}
		return err
	})
}

func (l *layered) table() [][]string {
	table := [][]string{{"a sink that stores each layer once", "time", "(a) / it", "goal", "written", "largest resident memory", "goal"}}
	for _, s := range []struct {
		what string
		took []time.Duration
	}{
		{"(a) docker commit, save into zstd, rmi", l.scripts.zstd}, {"docker commit, save into gzip, rmi", l.scripts.gzip},
		{"docker save alone", l.scripts.save}, {"zstd -dc into docker load, the base is there", l.scripts.load},
	} {
		table = append(table, []string{s.what, spread(s.took, bench.Seconds), "", "", "", "", ""})
	}
	for _, r := range l.rows {
		written := bench.None
		if len(r.written) > 0 {
			written = spread(r.written, bench.Megabytes)
		}
		ratio := float64(bench.Median(r.against(&l.scripts))) / float64(bench.Median(r.took))
		table = append(table, []string{r.what, spread(r.took, bench.Seconds), fmt.Sprintf("%.2f", ratio), r.goal,
			written, bench.Mebibytes(r.peak), "≤ 96 MiB"})
	}
	return table
}

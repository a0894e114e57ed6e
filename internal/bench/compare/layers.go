//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bench"
)

// several is how many containers of one base are backed up at once.
const several = 10

// scripts are the ways of the docker command with a container whose backup is measured with
// a sink that stores each layer once.
type scripts struct {
	Zstd, Gzip spent // docker commit, docker save into the tool, docker rmi
	Save       spent // docker save alone, of the image
	Load       spent // what the zstd tool reads from the script's archive, into docker load; the base is there
	// Synced has the times of Zstd and of sync of its file, as a backup does before it says that
	// there is one; the CPU time of the sync is in Zstd.
	Synced spent
}

// spent is what something takes: time, and CPU time of the whole machine, the Engine's too.
type spent struct{ Took, CPU []time.Duration }

// timed does something, and adds what that took; what do returns counts as the time, if it is
// not 0.
func (s *spent) timed(do func() (took time.Duration, err error)) error {
	before, err := bench.MachineCPU()
	if err != nil {
		return err
	}
	began := time.Now()
	took, err := do()
	if took == 0 {
		took = time.Since(began)
	}
	if err != nil {
		return err
	}
	after, err := bench.MachineCPU()
	s.Took, s.CPU = append(s.Took, took), append(s.CPU, after-before)
	return err
}

// layeredRow is what was measured of one job with such a sink.
type layeredRow struct {
	What string
	spent
	// Written is how much larger the sink was after it, in bytes.
	Written []int64
	// Read is how many bytes the worker has read for it, from the Engine and from the sink, and
	// NotRunning how long the container did not run; both are of backups.
	Read       []int64
	NotRunning []time.Duration
	// Peak is the largest resident memory of who did the work.
	Peak int64
	// Restores is set for a job that is held against scripts.Load, and not against scripts.Zstd.
	Restores bool
	// Goal is that of the ratio.
	Goal string
}

// layered is what was measured with a sink that stores each layer once, on one Engine.
type layered struct {
	Machine machine
	Scripts scripts
	Rows    []*layeredRow
}

// readLayered reads what a run with -json has printed.
func readLayered(file string) (*layered, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var l layered
	if err := json.Unmarshal(raw, &l); err != nil {
		return nil, fmt.Errorf("%s is not what -json prints: %w", file, err)
	}
	return &l, nil
}

// layered measures backups into a sink that stores each layer once, a new one each round.
func (b *session) layered(ctx context.Context) (*layered, error) {
	bench.Say("making an image of %d MB", b.size)
	image, err := b.fixture.Image(ctx, "layers", b.size)
	if err != nil {
		return nil, err
	}
	l := layered{Machine: b.machine}
	for round := range b.rounds {
		bench.Say("each layer once: round %d of %d", round+1, b.rounds)
		if err := b.layeredRound(ctx, &l, image, round); err != nil {
			return nil, err
		}
	}
	return &l, nil
}

// place is a sink that stores what is new alone, and a worker that serves it.
type place struct {
	holdfast *bench.Holdfast
	server   *bench.Worker
	dir      string
}

// openPlace makes one, which the caller closes.
func (b *session) openPlace(ctx context.Context, name string) (p *place, err error) {
	p = &place{dir: filepath.Join(b.dir, name)}
	if p.holdfast, err = bench.NewLayered(b.Programs, b.serving.Path, p.dir); err != nil {
		return nil, err
	}
	p.server, err = p.holdfast.Serve(ctx)
	return p, err
}

// close removes all that was stored there.
func (p *place) close() error {
	err := p.server.Stop()
	_ = os.RemoveAll(p.dir)
	return err
}

// layeredRound measures each job once.
func (b *session) layeredRound(ctx context.Context, l *layered, image string, round int) (err error) {
	place, err := b.openPlace(ctx, fmt.Sprint("layered-", round))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.close()) }()
	first, err := b.fixture.Container(ctx, image, fmt.Sprint("layers-", round), smallLayer)
	if err != nil {
		return err
	}
	if err := b.script(ctx, &l.Scripts, image, first); err != nil {
		return err
	}
	return (&layeredSteps{session: b, layered: l, place: place, image: image, first: first, round: round}).all(ctx)
}

// script measures the ways of the docker command.
func (b *session) script(ctx context.Context, s *scripts, image, container string) error {
	var run baselineRun
	by := func(tool compressor) func() (time.Duration, error) {
		return func() (_ time.Duration, err error) {
			run, err = b.baseline.backup(ctx, container, tool)
			return run.quick(), err
		}
	}
	if err := s.Zstd.timed(by(zstd)); err != nil {
		return err
	}
	s.Synced.Took = append(s.Synced.Took, run.durable())
	if err := s.Gzip.timed(by(gzip)); err != nil {
		return err
	}
	return s.Save.timed(func() (time.Duration, error) {
		_, err := b.Output(ctx, nil, "sh", "-c", `exec docker save "$1" >/dev/null`, "sh", image)
		return 0, err
	})
}

// layeredSteps are the jobs of one round, each of which finds what those before it stored.
type layeredSteps struct {
	*session
	*layered
	*place
	image string
	first string // the container of the round
	round int
	done  int // how many jobs of the round are measured
	point string
}

func (s *layeredSteps) all(ctx context.Context) error {
	seed := uint64(1000 * s.round)
	steps := []struct {
		what    string
		goal    string
		prepare func() error
	}{
		{"first", "≥ 0.95 (classic), docker save alone (containerd)", nil},
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
	what := fmt.Sprintf("%d containers of the base, %d of them first", several, several-1)
	if err := s.backup(ctx, what, "", others...); err != nil {
		return err
	}
	if err := s.restore(ctx); err != nil {
		return err
	}
	for i, name := range others { // else the Engine knows the digests of what is new, too
		if err := s.fixture.Change(ctx, name, seed+100+uint64(i), smallLayer); err != nil {
			return err
		}
	}
	what = fmt.Sprintf("%d containers of the base, which the Engine has pushed before, all first, into an empty sink", several)
	if err := s.backupTo(ctx, s.holdfast.Second, what, "≤ 1.5 × first", append([]string{"--sinks", "second"}, others...)...); err != nil {
		return err
	}
	if err := s.fixture.Change(ctx, others[0], seed+200, smallLayer); err != nil {
		return err
	}
	what = "1 MB changed, into two sinks at once; written into one of them"
	return s.backupTo(ctx, s.holdfast.Second, what, "", "--sinks", "default,second", others[0])
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
func (s *layeredSteps) row(what, goal string, restores bool) *layeredRow {
	if s.done == len(s.Rows) {
		s.Rows = append(s.Rows, &layeredRow{What: what, Goal: goal, Restores: restores})
	}
	s.done++
	return s.Rows[s.done-1]
}

func (s *layeredSteps) backup(ctx context.Context, what, goal string, containers ...string) error {
	return s.backupTo(ctx, s.holdfast.Sink, what, goal, containers...)
}

// backupTo measures a backup by these arguments, into the sink in a folder.
func (s *layeredSteps) backupTo(ctx context.Context, sink, what, goal string, args ...string) error {
	row := s.row(what, goal, false)
	if err := s.server.ResetPeak(); err != nil {
		return err
	}
	read, err := s.server.Read()
	if err != nil {
		return err
	}
	var done events.BackupItemCompleted
	err = row.timed(func() (took time.Duration, err error) {
		took, written, err := s.writes(ctx, sink, func() (err error) {
			done, err = s.holdfast.Store(ctx, args...)
			return err
		})
		row.Written = append(row.Written, written)
		return took, err
	})
	if err != nil {
		return err
	}
	after, err := s.server.Read()
	if err != nil {
		return err
	}
	peak, err := s.server.Peak()
	row.Read, row.Peak = append(row.Read, after-read), max(row.Peak, peak)
	row.NotRunning = append(row.NotRunning, time.Duration(done.NotRunningMillis*float64(time.Millisecond)))
	s.point = done.Point
	return err
}

// restore has the image of the last point come back where the base is, and the docker
// command as well.
func (s *layeredSteps) restore(ctx context.Context) error {
	row := s.row("restore, the base is there", "≥ 5", true)
	err := row.timed(func() (time.Duration, error) {
		run, err := s.holdfast.Beside(filepath.Join(s.dir, "beside")).Restore(ctx, s.point, "--as", "image")
		row.Peak = max(row.Peak, run.Peak)
		return run.Took, err
	})
	if err != nil {
		return err
	}
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
	if err := s.Scripts.Load.timed(func() (time.Duration, error) { return 0, load(ctx, s.Programs, file) }); err != nil {
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

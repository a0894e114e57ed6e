//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

// changedPart is how much of a volume is written between its backups: one of so many parts.
const changedPart = 100

// pieceRow is what was measured of one backup of a volume that lies in pieces, beside the same
// by a script, which stores all of it, and by restic, which reads the folder on the host.
type pieceRow struct {
	what                           string
	script, restic, holdfast       []time.Duration
	resticWritten, holdfastWritten []int64 // bytes
	peak                           int64
	goal                           string // of what Holdfast writes
}

// pieces measures how a volume is stored of which a sink has most already. Each round has a
// volume and places of its own.
func (b *session) pieces(ctx context.Context) ([]*pieceRow, error) {
	rows := []*pieceRow{
		{what: fmt.Sprintf("volume of %d MB, first", b.size)},
		{what: fmt.Sprintf("%d MB of it are new", b.size/changedPart), goal: "≤ 2 × what is new"},
		{what: "unchanged"},
	}
	image, err := b.fixture.Tar(ctx)
	if err != nil {
		return nil, err
	}
	for round := range b.rounds {
		bench.Say("a volume in pieces: round %d of %d", round+1, b.rounds)
		if err := b.pieceRound(ctx, rows, image, round); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func (b *session) pieceRound(ctx context.Context, rows []*pieceRow, image string, round int) (err error) {
	place, err := b.openPlace(ctx, fmt.Sprint("pieces-", round))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.close()) }()
	volume, err := b.fixture.Volume(ctx, image, fmt.Sprint("pieces-", round), b.size, 0)
	if err != nil {
		return err
	}
	r, err := b.newRestic(ctx, filepath.Join(place.dir, "restic"), volume)
	if err != nil {
		return err
	}
	for i, row := range rows {
		if i == 1 {
			if err := b.fixture.ChangeVolume(ctx, image, volume, uint64(round), b.size/changedPart); err != nil {
				return err
			}
		}
		if err := b.pieceBackups(ctx, row, image, volume, place, r); err != nil {
			return err
		}
	}
	return nil
}

// pieceBackups backs a volume up in each way.
func (b *session) pieceBackups(ctx context.Context, row *pieceRow, image, volume string, place *place, r *restic) error {
	took, err := b.tarVolume(ctx, image, volume)
	row.script = append(row.script, took)
	if err != nil {
		return err
	}
	if r != nil {
		took, written, err := r.backup(ctx)
		if err != nil {
			return err
		}
		row.restic, row.resticWritten = append(row.restic, took), append(row.resticWritten, written)
	}
	if err := place.server.ResetPeak(); err != nil {
		return err
	}
	took, written, err := b.writes(ctx, place.holdfast.Sink, func() error {
		_, err := place.holdfast.Store(ctx, "--volume", volume)
		return err
	})
	if err != nil {
		return err
	}
	peak, err := place.server.Peak()
	row.holdfast, row.holdfastWritten, row.peak = append(row.holdfast, took), append(row.holdfastWritten, written), max(row.peak, peak)
	return err
}

// tarVolume has a container read a volume, and the zstd tool store what it reads.
func (b *session) tarVolume(ctx context.Context, image, volume string) (time.Duration, error) {
	file := filepath.Join(b.dir, "volume.tar.zst")
	defer os.Remove(file)
	began := time.Now()
	err := bench.Pipe(b.Command(ctx, "docker", "run", "--rm", "--network", "none", "--volume", volume+":/v:ro", image,
		"/busybox", "tar", "-c", "-C", "/v", "."), zstd(ctx, b.Programs, file))
	return time.Since(began), err
}

// writes says how long something takes, and how much larger a folder is after it, in bytes.
func (b *session) writes(ctx context.Context, dir string, do func() error) (took time.Duration, written int64, err error) {
	// What was written before must not have to be written during it.
	if _, err := b.Output(ctx, nil, "sync"); err != nil {
		return 0, 0, err
	}
	before, err := sizeOf(dir)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	err = do()
	took = time.Since(began)
	if err != nil {
		return took, 0, err
	}
	after, err := sizeOf(dir)
	return took, after - before, err
}

// restic is the tool of that name, with a repository of its own.
type restic struct {
	*session
	repository, folder string
}

// newRestic makes a repository for the folder in which the Engine has a volume. It returns nil
// if the tool is not there, or may not read that folder: the report says so by its blanks.
func (b *session) newRestic(ctx context.Context, repository, volume string) (*restic, error) {
	if _, err := exec.LookPath("restic"); err != nil || os.Geteuid() != 0 {
		return nil, nil
	}
	folder, err := b.Docker(ctx, "volume", "inspect", "--format", "{{.Mountpoint}}", volume)
	if err != nil {
		return nil, err
	}
	r := &restic{b, repository, folder}
	return r, r.run(ctx, "init")
}

func (r *restic) run(ctx context.Context, args ...string) error {
	cmd := append([]string{"RESTIC_PASSWORD=benchmark", "restic", "--quiet", "--repo", r.repository, "--no-cache"}, args...)
	_, err := r.Output(ctx, nil, "env", cmd...)
	return err
}

func (r *restic) backup(ctx context.Context) (took time.Duration, written int64, err error) {
	return r.writes(ctx, r.repository, func() error { return r.run(ctx, "backup", r.folder) })
}

func pieceTable(rows []*pieceRow) [][]string {
	table := [][]string{{"a volume in a sink that stores each piece once", "(a) docker run … tar | zstd", "restic, on the host", "holdfast",
		"(a) / holdfast", "written by restic", "written by holdfast", "goal", "largest resident memory (≤ 96 MiB)"}}
	for _, r := range rows {
		restic, resticWritten := bench.None, bench.None
		if len(r.restic) > 0 {
			restic, resticWritten = spread(r.restic, bench.Seconds), spread(r.resticWritten, bench.Megabytes)
		}
		table = append(table, []string{r.what, spread(r.script, bench.Seconds), restic, spread(r.holdfast, bench.Seconds),
			fmt.Sprintf("%.2f", float64(bench.Median(r.script))/float64(bench.Median(r.holdfast))),
			resticWritten, spread(r.holdfastWritten, bench.Megabytes), r.goal, bench.Mebibytes(r.peak)})
	}
	return table
}

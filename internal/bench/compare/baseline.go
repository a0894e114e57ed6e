//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"holdfast.io/holdfast/internal/bench"
)

// baseline is what Holdfast is held against: the docker command and zstd.
type baseline struct {
	bench.Programs
	dir string
}

// baselineRun is one backup by the baseline.
type baselineRun struct {
	commit, save, sync, remove time.Duration
	size                       int64
}

// quick is the time without the wait until the file is on disk, which a script
// would not have. Holdfast always waits.
func (r baselineRun) quick() time.Duration { return r.commit + r.save + r.remove }

// durable is the time for the same work as Holdfast's.
func (r baselineRun) durable() time.Duration { return r.quick() + r.sync }

// backup runs docker commit, docker save into a tool that compresses, and docker rmi.
func (b *baseline) backup(ctx context.Context, container string, compress compressor) (r baselineRun, err error) {
	file := filepath.Join(b.dir, "baseline")
	defer os.Remove(file)
	var id string
	steps := []struct {
		took *time.Duration
		do   func() error
	}{
		{&r.commit, func() error { id, err = b.Commit(ctx, container); return err }},
		{&r.save, func() error {
			return bench.Pipe(b.Command(ctx, "docker", "save", id), compress(ctx, b.Programs, file))
		}},
		{&r.sync, func() error { _, err := b.Output(ctx, nil, "sync", file); return err }},
		{&r.remove, func() error { _, err := b.Docker(ctx, "rmi", id); return err }},
	}
	for _, s := range steps {
		began := time.Now()
		if err := s.do(); err != nil {
			return r, err
		}
		*s.took = time.Since(began)
	}
	info, err := os.Stat(file)
	if err != nil {
		return r, err
	}
	r.size = info.Size()
	return r, nil
}

// compressor is a tool on its way to a file.
type compressor func(ctx context.Context, p bench.Programs, file string) *exec.Cmd

// gzip is the gzip tool, as Debian has it, on its way to a file.
func gzip(ctx context.Context, p bench.Programs, file string) *exec.Cmd {
	return p.Command(ctx, "sh", "-c", `exec gzip >"$1"`, "sh", file)
}

// zstd is the zstd tool on its way to a file.
func zstd(ctx context.Context, p bench.Programs, file string) *exec.Cmd {
	return p.Command(ctx, "zstd", fmt.Sprintf("-%d", bench.Level), fmt.Sprintf("-T%d", bench.Threads), "-q", "-f", "-o", file)
}

// load has the zstd tool and the docker command load the archive that is in a file.
func load(ctx context.Context, p bench.Programs, file string) error {
	return bench.Pipe(p.Command(ctx, "zstd", "-dc", file), p.Command(ctx, "docker", "load", "--quiet"))
}

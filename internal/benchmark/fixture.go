//go:build linux

package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// label marks all that a run makes on the Engine. A commit bakes it into the
// image, so that snapshots are found too, whoever made them.
const label = "benchmark.holdfast.io/run"

// layers is the number of layers that an image's content is spread over.
const layers = 4

// fixture makes images and containers for one run.
type fixture struct {
	programs
	run  string // identifies the run
	idle string // the static program that runs in the containers
}

// newFixture builds the program that runs in the containers.
func newFixture(ctx context.Context, p programs, run, dir string) (*fixture, error) {
	f := &fixture{programs: p, run: run, idle: filepath.Join(dir, "idle")}
	arch, err := f.docker(ctx, "version", "--format", "{{.Server.Arch}}")
	if err != nil {
		return nil, fmt.Errorf("is the Engine running, and may this user reach it? %w", err)
	}
	return f, f.build(ctx, f.idle, "holdfast.io/holdfast/internal/benchmark/idle", "GOOS=linux", "GOARCH="+arch)
}

// build builds a static program of this module.
func (p programs) build(ctx context.Context, path, pkg string, env ...string) error {
	cmd := p.command(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
	cmd.Env = append(append(cmd.Env, "CGO_ENABLED=0"), env...)
	_, err := output(cmd)
	return err
}

// image makes an image with about size megabytes of content, and returns its
// name.
func (f *fixture) image(ctx context.Context, name string, size int) (string, error) {
	image, err := f.base(ctx)
	if err != nil {
		return "", err
	}
	for i := range uint64(layers) {
		if image, err = f.layer(ctx, image, fmt.Sprintf("layer-%d", i), i, int64(size)*megabyte/layers); err != nil {
			return "", fmt.Errorf("make layer %d of image %s: %w", i, name, err)
		}
	}
	ref := "holdfast-benchmark:" + f.run + "-" + name
	_, err = f.docker(ctx, "tag", image, ref)
	return ref, err
}

// base makes an image of nothing but the idle program, and returns its id.
func (f *fixture) base(ctx context.Context) (string, error) {
	program, err := os.ReadFile(f.idle)
	if err != nil {
		return "", err
	}
	files := tarStream(func(tw *tar.Writer) error { return writeFile(tw, "idle", 0o755, program) })
	defer files.Close()
	return f.output(ctx, files, "docker", "import",
		"--change", `CMD ["/idle"]`, "--change", fmt.Sprintf("LABEL %s=%s", label, f.run), "-")
}

// layer puts a tree onto an image, and returns the id of the image that this
// makes.
func (f *fixture) layer(ctx context.Context, image, root string, seed uint64, size int64) (string, error) {
	id, err := f.docker(ctx, "create", image)
	if err != nil {
		return "", err
	}
	if err := f.put(ctx, id, root, seed, size); err != nil {
		return "", err
	}
	made, err := f.commit(ctx, id)
	if err != nil {
		return "", err
	}
	_, err = f.docker(ctx, "rm", id)
	return made, err
}

// put writes a tree into a container.
func (f *fixture) put(ctx context.Context, container, root string, seed uint64, size int64) error {
	files := tarStream(func(tw *tar.Writer) error { return writeTree(tw, root, seed, size) })
	defer files.Close()
	_, err := f.output(ctx, files, "docker", "cp", "-", container+":/")
	return err
}

// container starts a container with size megabytes in its writable layer,
// and returns its name.
func (f *fixture) container(ctx context.Context, image, name string, size int) (string, error) {
	name = "holdfast-benchmark-" + f.run + "-" + name
	if _, err := f.docker(ctx, "run", "--detach", "--network", "none", "--name", name, image); err != nil {
		return "", err
	}
	return name, f.put(ctx, name, "written", layers, int64(size)*megabyte)
}

// remove removes all that the run made, also what programs left that were
// interrupted.
func (f *fixture) remove(ctx context.Context) error {
	filter := "label=" + label + "=" + f.run
	containers, err := f.docker(ctx, "ps", "--all", "--quiet", "--no-trunc", "--filter", filter)
	if ids := strings.Fields(containers); len(ids) > 0 {
		_, err = f.docker(ctx, append([]string{"rm", "--force", "--volumes"}, ids...)...)
	}
	// An image with children cannot be removed before them.
	for range layers + 2 {
		images, ierr := f.docker(ctx, "images", "--all", "--quiet", "--no-trunc", "--filter", filter)
		ids := strings.Fields(images)
		if ierr != nil || len(ids) == 0 {
			return errors.Join(err, ierr)
		}
		_, _ = f.docker(ctx, append([]string{"rmi", "--force"}, ids...)...)
	}
	return errors.Join(err, fmt.Errorf("images are left on the Engine: docker images --all --filter %s", filter))
}

//go:build linux

package bench

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Label marks all that a run makes on the Engine. A commit bakes it into the
// image, so that snapshots are found too, whoever made them.
const Label = "benchmark.holdfast.io/run"

// layers is the number of layers that an image's content is spread over.
const layers = 4

// Fixture makes images and containers for one run.
type Fixture struct {
	Programs
	run  string // identifies the run
	idle string // the static program that runs in the containers
}

// NewFixture builds the program that runs in the containers.
func NewFixture(ctx context.Context, p Programs, run, dir string) (*Fixture, error) {
	f := &Fixture{Programs: p, run: run, idle: filepath.Join(dir, "idle")}
	arch, err := f.Docker(ctx, "version", "--format", "{{.Server.Arch}}")
	if err != nil {
		return nil, fmt.Errorf("is the Engine running, and may this user reach it? %w", err)
	}
	return f, f.Build(ctx, f.idle, "holdfast.io/holdfast/internal/bench/idle", "GOOS=linux", "GOARCH="+arch)
}

// Build builds a static program of this module.
func (p Programs) Build(ctx context.Context, path, pkg string, env ...string) error {
	cmd := p.Command(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", path, pkg)
	cmd.Env = append(append(cmd.Env, "CGO_ENABLED=0"), env...)
	_, err := output(cmd)
	return err
}

// Image makes an image with about size megabytes of content, and returns its
// name.
func (f *Fixture) Image(ctx context.Context, name string, size int) (string, error) {
	image, err := f.Base(ctx)
	if err != nil {
		return "", err
	}
	for i := range uint64(layers) {
		if image, err = f.layer(ctx, image, fmt.Sprintf("layer-%d", i), i, int64(size)*megabyte/layers); err != nil {
			return "", fmt.Errorf("make layer %d of image %s: %w", i, name, err)
		}
	}
	ref := "holdfast-benchmark:" + f.run + "-" + name
	_, err = f.Docker(ctx, "tag", image, ref)
	return ref, err
}

// Base makes an image of nothing but the idle program, and returns its id.
func (f *Fixture) Base(ctx context.Context) (string, error) {
	program, err := os.ReadFile(f.idle)
	if err != nil {
		return "", err
	}
	files := tarStream(func(tw *tar.Writer) error { return writeFile(tw, "idle", 0o755, program) })
	defer files.Close()
	return f.Output(ctx, files, "docker", "import",
		"--change", `CMD ["/idle"]`, "--change", fmt.Sprintf("LABEL %s=%s", Label, f.run), "-")
}

// layer puts a tree onto an image, and returns the id of the image that this
// makes.
func (f *Fixture) layer(ctx context.Context, image, root string, seed uint64, size int64) (string, error) {
	id, err := f.Docker(ctx, "create", image)
	if err != nil {
		return "", err
	}
	if err := f.put(ctx, id, root, seed, size); err != nil {
		return "", err
	}
	made, err := f.Commit(ctx, id)
	if err != nil {
		return "", err
	}
	_, err = f.Docker(ctx, "rm", id)
	return made, err
}

// put writes a tree into a container.
func (f *Fixture) put(ctx context.Context, container, root string, seed uint64, size int64) error {
	files := tarStream(func(tw *tar.Writer) error { return writeTree(tw, root, seed, size) })
	defer files.Close()
	_, err := f.Output(ctx, files, "docker", "cp", "-", container+":/")
	return err
}

// Container starts a container with size megabytes in its writable layer,
// and returns its name.
func (f *Fixture) Container(ctx context.Context, image, name string, size int) (string, error) {
	name = "holdfast-benchmark-" + f.run + "-" + name
	if _, err := f.Docker(ctx, "run", "--detach", "--network", "none", "--name", name, image); err != nil {
		return "", err
	}
	return name, f.put(ctx, name, "written", layers, int64(size)*megabyte)
}

// Change writes size megabytes into a container, other ones for each seed.
func (f *Fixture) Change(ctx context.Context, container string, seed uint64, size int) error {
	return f.put(ctx, container, fmt.Sprintf("changed-%d", seed), layers+seed, int64(size)*megabyte)
}

// Volume makes a volume with a tree of size megabytes, or of that many small files, and
// returns its name.
func (f *Fixture) Volume(ctx context.Context, image, name string, size, files int) (string, error) {
	name = "holdfast-benchmark-" + f.run + "-" + name
	if _, err := f.Docker(ctx, "volume", "create", "--label", Label+"="+f.run, name); err != nil {
		return "", err
	}
	return name, f.fill(ctx, image, name, func(tw *tar.Writer) error {
		if err := writeTree(tw, "tree", layers, int64(size)*megabyte); err != nil {
			return err
		}
		return writeSmall(tw, "small", files)
	})
}

// ChangeVolume writes size megabytes into a volume, other ones for each seed.
func (f *Fixture) ChangeVolume(ctx context.Context, image, volume string, seed uint64, size int) error {
	return f.fill(ctx, image, volume, func(tw *tar.Writer) error {
		return writeTree(tw, fmt.Sprintf("changed-%d", seed), layers+1+seed, int64(size)*megabyte)
	})
}

// fill writes files into a volume, by a container of the image that never runs.
func (f *Fixture) fill(ctx context.Context, image, volume string, write func(tw *tar.Writer) error) error {
	container, err := f.Docker(ctx, "create", "--volume", volume+":/v", image, "none")
	if err != nil {
		return err
	}
	content := tarStream(write)
	defer content.Close()
	if _, err := f.Output(ctx, content, "docker", "cp", "-", container+":/v"); err != nil {
		return err
	}
	_, err = f.Docker(ctx, "rm", container)
	return err
}

// Tar makes an image of nothing but busybox, which has a tar, and returns its id.
func (f *Fixture) Tar(ctx context.Context) (string, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return "", err
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	files := tarStream(func(tw *tar.Writer) error { return writeFile(tw, "busybox", 0o755, program) })
	defer files.Close()
	return f.Output(ctx, files, "docker", "import", "--change", fmt.Sprintf("LABEL %s=%s", Label, f.run), "-")
}

// Remove removes all that the run made, also what programs left that were
// interrupted.
func (f *Fixture) Remove(ctx context.Context) error {
	filter := "label=" + Label + "=" + f.run
	containers, err := f.Docker(ctx, "ps", "--all", "--quiet", "--no-trunc", "--filter", filter)
	if ids := strings.Fields(containers); len(ids) > 0 {
		_, err = f.Docker(ctx, append([]string{"rm", "--force", "--volumes"}, ids...)...)
	}
	volumes, verr := f.Docker(ctx, "volume", "ls", "--quiet", "--filter", filter)
	if names := strings.Fields(volumes); len(names) > 0 {
		_, verr = f.Docker(ctx, append([]string{"volume", "rm"}, names...)...)
	}
	err = errors.Join(err, verr)
	// An image with children cannot be removed before them.
	for range layers + 2 {
		images, ierr := f.Docker(ctx, "images", "--all", "--quiet", "--no-trunc", "--filter", filter)
		ids := strings.Fields(images)
		if ierr != nil || len(ids) == 0 {
			return errors.Join(err, ierr)
		}
		_, _ = f.Docker(ctx, append([]string{"rmi", "--force"}, ids...)...)
	}
	return errors.Join(err, fmt.Errorf("images are left on the Engine: docker images --all --filter %s", filter))
}

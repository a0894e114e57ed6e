package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/client"

	"holdfast.io/holdfast/internal/engine"
)

// realEngine is the Engine that the tests use, and what they made on it. Every
// name begins with the prefix, so that nothing else is touched.
type realEngine struct {
	api    *client.Client
	prefix string
	image  string
}

var engineOnce = sync.OnceValues(func() (*realEngine, error) {
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return nil, err
	}
	e := &realEngine{api: api, prefix: fmt.Sprintf("hft%08x", rand.Uint32())}
	e.image = "holdfast/test:" + e.prefix
	return e, e.importImage(context.Background())
})

// machineEngine returns the real Engine. A test that needs it and cannot have it fails:
// a skip would hide that nothing was tested.
func machineEngine(t testing.TB) *realEngine {
	t.Helper()
	e, err := engineOnce()
	if err != nil {
		t.Fatalf("these tests need a Docker Engine: %v", err)
	}
	return e
}

// importImage makes an image of one static program.
func (e *realEngine) importImage(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "holdfast-test-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "idle")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/idle")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the containers' program: %w: %s", err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	r, err := e.api.ImageImport(ctx, image.ImportSource{Source: tarOf("idle", content), SourceName: "-"}, e.image,
		image.ImportOptions{Changes: []string{`CMD ["/idle"]`, `ENV HOLDFAST_TEST_SECRET=hunter2`}})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

// tarOf is an archive of one file, and of empty folders to write to.
func tarOf(name string, content []byte) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, dir := range []string{"data/", "tmp/"} {
		_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o777})
	}
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, Size: int64(len(content))})
	_, _ = w.Write(content)
	_ = w.Close()
	return &b
}

// create makes a container that is removed with the test.
func (e *realEngine) create(t interface{ Cleanup(func()) }, name string, c *container.Config, h *container.HostConfig) (string, error) {
	return e.createIn(t, name, c, h, nil)
}

// createIn makes a container in networks.
func (e *realEngine) createIn(t interface{ Cleanup(func()) }, name string, c *container.Config, h *container.HostConfig, n *network.NetworkingConfig,
) (string, error) {
	c.Image = cmp.Or(c.Image, e.image)
	made, err := e.api.ContainerCreate(context.Background(), c, h, n, nil, name)
	if err != nil {
		return "", err
	}
	t.Cleanup(func() { e.remove(made.ID) })
	return made.ID, nil
}

func (e *realEngine) remove(id string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	if err != nil && !errdefs.IsNotFound(err) && !strings.Contains(err.Error(), "already in progress") {
		panic(fmt.Sprintf("remove test container %s: %v", id, err))
	}
}

// write puts a file into a container's writable layer, through the archive API.
func (e *realEngine) write(id, file string, content []byte) error {
	return e.api.CopyToContainer(context.Background(), id, "/", tarOf(strings.TrimPrefix(file, "/"), content),
		container.CopyToContainerOptions{})
}

// read returns a file of a container.
func (e *realEngine) read(id, file string) (string, error) {
	r, _, err := e.api.CopyFromContainer(context.Background(), id, file)
	if err != nil {
		return "", err
	}
	defer r.Close()
	tr := tar.NewReader(r)
	if _, err := tr.Next(); err != nil {
		return "", fmt.Errorf("read %s: %w", path.Base(file), err)
	}
	content, err := io.ReadAll(tr)
	return string(content), err
}

// snapshots returns the names of the temporary images of containers.
func (e *realEngine) snapshots() ([]string, error) {
	list, err := e.api.ImageList(context.Background(), image.ListOptions{})
	var refs []string
	for _, i := range list {
		for _, ref := range i.RepoTags {
			if engine.IsTemporary(ref) && !strings.HasPrefix(ref, engine.DrillRepository) {
				refs = append(refs, ref)
			}
		}
	}
	return refs, err
}

// helpers returns the names of the helpers that are there for volumes whose names begin
// with one text, or for paths that begin with another.
func (e *realEngine) helpers(volume, folder string) (names []string, err error) {
	list, err := e.api.ContainerList(context.Background(), container.ListOptions{
		All: true, Filters: filters.NewArgs(filters.Arg("label", engine.HelperLabel))})
	for _, c := range list {
		for _, m := range c.Mounts {
			if m.Name != "" && strings.HasPrefix(m.Name, volume) || m.Name == "" && strings.HasPrefix(m.Source, folder) {
				names = append(names, c.Names...)
			}
		}
	}
	return names, err
}

// close removes what all tests share.
func (e *realEngine) close() {
	_, err := e.api.ImageRemove(context.Background(), e.image, image.RemoveOptions{Force: true, PruneChildren: true})
	if err != nil && !errdefs.IsNotFound(err) {
		fmt.Fprintf(os.Stderr, "remove the test image: %v\n", err)
	}
}

// removeRestored removes the images that were made of a script's containers.
func (e *realEngine) removeRestored(script string) error {
	ctx := context.Background()
	left, err := e.api.ImageList(ctx, image.ListOptions{Filters: filters.NewArgs(filters.Arg("label", scriptLabel+"="+script))})
	for _, i := range left {
		_, rerr := e.api.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true, PruneChildren: true})
		if rerr != nil && !errdefs.IsNotFound(rerr) {
			err = errors.Join(err, rerr)
		}
	}
	return err
}

// testLabel holds a test container's name, and so finds images made of it. scriptLabel holds
// what the names of a script's containers begin with; it looks like none of Holdfast's labels.
const (
	testLabel   = "io.holdfast.test"
	scriptLabel = "example.com/script"
)

// runningContainer starts a container that is removed with the test.
func runningContainer(t *testing.T, e *realEngine, name string) string {
	t.Helper()
	name = e.prefix + "-" + name + fmt.Sprintf("-%04x", rand.N(1<<16))
	id, err := e.create(t, name, &container.Config{Labels: map[string]string{testLabel: name}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.api.ContainerStart(context.Background(), id, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// assertUntouched checks that a container runs, and that no snapshot of it is
// left.
func assertUntouched(t *testing.T, e *realEngine, name string) {
	t.Helper()
	c, err := e.api.ContainerInspect(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	if c.State.Status != "running" {
		t.Errorf("container %s is %s", name, c.State.Status)
	}
	// A commit keeps the container's labels in the image.
	left, err := e.api.ImageList(context.Background(), image.ListOptions{All: true,
		Filters: filters.NewArgs(filters.Arg("label", testLabel+"="+name))})
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range left {
		t.Errorf("a snapshot of container %s is left: %v %s", name, i.RepoTags, i.ID)
	}
}

// containing lists containers and images whose names begin so.
func (e *realEngine) containing(t *testing.T, begin string) []string {
	t.Helper()
	var found []string
	containers, err := e.api.ContainerList(context.Background(), container.ListOptions{All: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		if strings.HasPrefix(strings.TrimPrefix(c.Names[0], "/"), begin) {
			found = append(found, c.Names[0])
		}
	}
	return found
}

// largeContainer starts a container that takes some seconds to save: it has 300
// MB of random bytes.
func largeContainer(t *testing.T, e *realEngine) string {
	t.Helper()
	name := runningContainer(t, e, "large")
	content := make([]byte, 100<<20)
	var seed [32]byte
	copy(seed[:], name)
	_, _ = rand.NewChaCha8(seed).Read(content)
	for _, file := range []string{"data/1", "data/2", "data/3"} {
		if err := e.write(name, file, content); err != nil {
			t.Fatal(err)
		}
	}
	return name
}

package helper_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	dockervolume "github.com/docker/docker/api/types/volume"
	"github.com/docker/docker/client"
	"go.uber.org/goleak"

	"holdfast.io/holdfast/internal/docker"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/volume"
)

// In a helper of a test, the test is the program.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == helper.Command {
		if volume.Serve(context.Background(), volume.Op(os.Args[2]), os.Args[3], os.Stdin, os.Stdout, os.Stderr) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// bench is the machine's Engine, and a Runner on it.
type bench struct {
	*testing.T
	helper.Runner
	api   *client.Client
	names []string // of helpers
}

// openBench fails if there is no Engine: a skip would hide that nothing was tested.
func openBench(t *testing.T) *bench {
	t.Helper()
	e, err := docker.Connect("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Close() })
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { api.Close() })
	b := &bench{T: t, Runner: helper.Runner{Engine: e}, api: api}
	t.Cleanup(b.wantNoneLeft)
	return b
}

// name is that of a helper of its own.
func (b *bench) name() string {
	name := engine.HelperName(fmt.Sprintf("20260102T150405Z-%08x", rand.Uint32()), 1, len(b.names))
	b.names = append(b.names, name)
	return name
}

// wantNoneLeft holds that no helper of the test is there, and removes them.
func (b *bench) wantNoneLeft() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, name := range b.names {
		list, err := b.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("name", name))})
		if err != nil {
			b.Error(err)
		}
		for _, c := range list {
			b.Errorf("container %s is left, %s", name, c.State)
			if err := b.api.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true}); err != nil {
				b.Error(err)
			}
		}
	}
}

// volume makes a volume that is removed with the test.
func (b *bench) volume() helper.Place {
	b.Helper()
	name := fmt.Sprintf("hft%08x", rand.Uint32())
	if _, err := b.api.VolumeCreate(b.Context(), dockervolume.CreateOptions{Name: name}); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := b.api.VolumeRemove(context.Background(), name, true); err != nil && !errdefs.IsNotFound(err) {
			b.Errorf("remove the test's volume: %v", err)
		}
	})
	return helper.Place{Volume: name}
}

// archive is that of a tree.
func (b *bench) archive() []byte {
	b.Helper()
	root := b.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(root, name), []byte(content), 0o640); err != nil {
			b.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "folder"), 0o700); err != nil {
		b.Fatal(err)
	}
	write("small", "content")
	write("folder/odd\n\xff name", "")
	write("folder/large", strings.Repeat("0123456789abcdef", 1<<18))
	err := errors.Join(os.Symlink("../small", filepath.Join(root, "folder/link")), os.Link(filepath.Join(root, "small"), filepath.Join(root, "hard")))
	if err != nil {
		b.Fatal(err)
	}
	if os.Geteuid() == 0 { // an owner that may do nothing, with files that nobody may read
		if err := errors.Join(os.Lchown(filepath.Join(root, "folder"), 12345, 54321), os.Chmod(filepath.Join(root, "small"), 0)); err != nil {
			b.Fatal(err)
		}
	}
	var archive bytes.Buffer
	if _, err := volume.Archive(b.Context(), root, &archive); err != nil {
		b.Fatal(err)
	}
	return archive.Bytes()
}

// comesBack writes a tree, reads it, and holds that nothing is different.
func (b *bench) comesBack(at helper.Place) {
	b.Helper()
	ctx, archive := b.Context(), b.archive()
	if empty, err := b.IsEmpty(ctx, b.name(), at); !empty || err != nil {
		b.Errorf("a new place is empty: %v, %v", empty, err)
	}
	written, err := b.Write(ctx, b.name(), at, bytes.NewReader(archive))
	if err != nil {
		b.Fatal(err)
	}
	if empty, err := b.IsEmpty(ctx, b.name(), at); empty || err != nil {
		b.Errorf("after it was written it is empty: %v, %v", empty, err)
	}
	var back bytes.Buffer
	held, err := read(ctx, b.Runner, b.name(), at, &back)
	if err != nil {
		b.Fatal(err)
	}
	if !bytes.Equal(back.Bytes(), archive) || held.Entries != written.Entries || held.Entries == 0 {
		b.Errorf("written were %d bytes (%+v), read are %d others (%+v)", len(archive), written, back.Len(), held)
	}
	if err := b.Clear(ctx, b.name(), at); err != nil {
		b.Error(err)
	}
	if empty, err := b.IsEmpty(ctx, b.name(), at); !empty || err != nil {
		b.Errorf("after it was cleared it is empty: %v, %v", empty, err)
	}
}

func TestRunner(t *testing.T) {
	b := openBench(t)
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.comesBack(b.volume())
}

func TestFolder(t *testing.T) {
	b := openBench(t)
	at, archive := helper.Place{Bind: t.TempDir()}, b.archive()
	if _, err := b.Write(t.Context(), b.name(), at, bytes.NewReader(archive)); err != nil {
		t.Fatal(err)
	}
	var back bytes.Buffer
	if _, err := read(t.Context(), b.Runner, b.name(), at, &back); err != nil || !bytes.Equal(back.Bytes(), archive) {
		t.Errorf("of %d bytes that were written %d are read, or others: %v", len(archive), back.Len(), err)
	}
}

// What is static runs alone. A test that is built with a C compiler is not static, and
// so all the others show that such a program runs with what it needs.
func TestStatic(t *testing.T) {
	b := openBench(t)
	program := build(t)
	if static, err := helper.IsStatic(program); !static || err != nil {
		t.Fatalf("the program is static: %v, %v", static, err)
	}
	undo, err := helper.SetSelf(program)
	if err != nil {
		t.Fatal(err)
	}
	defer undo()
	if empty, err := b.IsEmpty(t.Context(), b.name(), b.volume()); !empty || err != nil {
		t.Errorf("a new volume is empty: %v, %v", empty, err)
	}
}

// build builds a static program.
func build(t *testing.T) string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-o", out, "./testdata/program")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build a program: %v: %s", err, text)
	}
	return out
}

// A helper can be made from an image whose entrypoint is the program.
func TestImage(t *testing.T) {
	b := openBench(t)
	b.Image = fmt.Sprintf("hft%08x:v1", rand.Uint32())
	at := b.volume()
	if _, err := b.IsEmpty(t.Context(), b.name(), at); !errors.Is(err, helper.ErrNoProgram) {
		t.Errorf("of an image that is not there it reports %v, want ErrNoProgram", err)
	}
	program, err := os.ReadFile(build(t))
	if err != nil {
		t.Fatal(err)
	}
	var files bytes.Buffer
	w := tar.NewWriter(&files)
	err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "program", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write(program)
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	r, err := b.api.ImageImport(t.Context(), image.ImportSource{Source: &files, SourceName: "-"}, b.Image,
		image.ImportOptions{Changes: []string{`ENTRYPOINT ["/program"]`, `VOLUME /more`}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := b.api.ImageRemove(context.Background(), b.Image, image.RemoveOptions{}); err != nil {
			t.Errorf("remove the test's image: %v", err)
		}
	})
	_, err = io.Copy(io.Discard, r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	if empty, err := b.IsEmpty(t.Context(), b.name(), at); !empty || err != nil {
		t.Errorf("a new volume is empty: %v, %v", empty, err)
	}
}

// What is not there is reported, and not made.
func TestNotThere(t *testing.T) {
	b := openBench(t)
	gone := helper.Place{Volume: fmt.Sprintf("hft%08x", rand.Uint32())}
	for _, at := range []helper.Place{gone, {Bind: filepath.Join(t.TempDir(), "none")}} {
		if _, err := read(t.Context(), b.Runner, b.name(), at, io.Discard); !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s: %v, want ErrNotFound", at, err)
		}
	}
	if _, err := b.api.VolumeInspect(t.Context(), gone.Volume); !errdefs.IsNotFound(err) {
		t.Errorf("the volume was made: %v", err)
	}
}

// What is no archive is not taken for one, and a reader that stops keeps nobody.
func TestStreamsThatFail(t *testing.T) {
	b := openBench(t)
	at, archive := b.volume(), b.archive()
	if _, err := b.Write(t.Context(), b.name(), at, bytes.NewReader(archive[:len(archive)/2])); !errors.Is(err, volume.ErrCorrupt) {
		t.Errorf("half an archive reports %v, want ErrCorrupt", err)
	}
	broken := errors.New("broken")
	if _, err := read(t.Context(), b.Runner, b.name(), at, failing{broken}); !errors.Is(err, broken) {
		t.Errorf("a writer that fails is reported as %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// When its context ends a helper is gone, whatever it does.
func TestEnds(t *testing.T) {
	b := openBench(t)
	cause := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	if _, err := read(ctx, b.Runner, b.name(), b.volume(), ending{func() { cancel(cause) }}); !errors.Is(err, cause) {
		t.Errorf("it reports %v, want the cause of its context", err)
	}
}

// A helper that is prepared and not needed is gone too.
func TestPrepared(t *testing.T) {
	b := openBench(t)
	p, err := b.Prepare(t.Context(), b.name(), b.volume())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Remove(t.Context()); err != nil {
		t.Error(err)
	}
}

type ending struct{ end func() }

func (e ending) Write(p []byte) (int, error) {
	e.end()
	return len(p), nil
}

// What was found of this program is what it needs.
func TestSelf(t *testing.T) {
	files, err := helper.Self()
	if err != nil {
		t.Fatal(err)
	}
	static, err := helper.IsStatic("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if files["/proc/self/exe"] == "" || static != (len(files) == 1) {
		t.Errorf("on %s, with a program that is static: %v, the files are %q", runtime.GOARCH, static, files)
	}
}

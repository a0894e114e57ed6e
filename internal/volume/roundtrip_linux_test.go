package volume_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"holdfast.io/holdfast/internal/volume"
)

// TestRoundTrip: a tree comes back as it was, and what is said of it is the same
// three times.
func TestRoundTrip(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	makeTree(t, from)
	want := look(t, from)

	raw, read := archive(t, from)
	if len(want) != int(read.Entries) {
		t.Errorf("%d entries of %d files", read.Entries, len(want))
	}
	unremarkable(t, read)
	written, err := volume.Extract(t.Context(), bytes.NewReader(raw), to)
	if err != nil {
		t.Fatal(err)
	}
	unremarkable(t, written)
	same(t, want, look(t, to))
	same(t, want, look(t, from)) // reading has changed nothing

	checked, err := volume.Check(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []volume.Report{written, checked} {
		if r.Entries != read.Entries || r.Bytes != read.Bytes {
			t.Errorf("%+v instead of %+v", r, read)
		}
	}
	if again, _ := archive(t, to); len(again) != len(raw) {
		t.Errorf("the archive of what came back has %d bytes, not %d", len(again), len(raw))
	}
}

func archive(t testing.TB, root string) ([]byte, volume.Report) {
	t.Helper()
	var raw bytes.Buffer
	report, err := volume.Archive(t.Context(), root, &raw)
	if err != nil {
		t.Fatal(err)
	}
	return raw.Bytes(), report
}

func unremarkable(t *testing.T, r volume.Report) {
	t.Helper()
	if r.Sockets != 0 || r.Unreadable.Count != 0 || r.Changed.Count != 0 || r.Mounts.Count != 0 || r.Lost.Count != 0 {
		t.Errorf("remarkable: %+v", r)
	}
}

// gnuCreateArgs and gnuExtractArgs are GNU tar with everything that it can keep.
func gnuCreateArgs(from string) []string {
	return []string{"--format=posix", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner", "-C", from, "-cf", "-", "."}
}

func gnuExtractArgs(to string) []string {
	return []string{"--warning=no-timestamp", "--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner", "-p",
		"-C", to, "-xf", "-"}
}

// outcome is what came of GNU tar.
type outcome struct {
	out []byte
	err error // what it said, too
}

// quietly runs GNU tar, which has nothing to say if all is well.
func quietly(in []byte, args []string) outcome {
	var out, said bytes.Buffer
	cmd := exec.Command("tar", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &said
	err := cmd.Run()
	if err == nil && said.Len() > 0 {
		err = errors.New("it has something to say")
	}
	if err != nil {
		err = fmt.Errorf("tar %s: %w: %.2000s", strings.Join(args, " "), err, &said)
	}
	return outcome{out.Bytes(), err}
}

func gnuTar(t testing.TB, in []byte, args []string) []byte {
	t.Helper()
	o := quietly(in, args)
	if o.err != nil {
		t.Error(o.err)
	}
	return o.out
}

// TestGNUTarExtracts: what Archive wrote, GNU tar unpacks as it was.
func TestGNUTarExtracts(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	makeTree(t, from)
	raw, _ := archive(t, from)
	gnuTar(t, raw, gnuExtractArgs(to))
	same(t, look(t, from), look(t, to))
}

// TestGNUTarCreates: what GNU tar wrote, Extract unpacks as it was.
func TestGNUTarCreates(t *testing.T) {
	needRoot(t)
	from, to := t.TempDir(), t.TempDir()
	makeTree(t, from)
	raw := gnuTar(t, nil, gnuCreateArgs(from))
	report, err := volume.Extract(t.Context(), bytes.NewReader(raw), to)
	if err != nil {
		t.Fatal(err)
	}
	unremarkable(t, report)
	same(t, look(t, from), look(t, to))
	if _, err := volume.Check(bytes.NewReader(raw)); err != nil {
		t.Error(err)
	}
}

// TestDeepTree: no path is too long, and few folders are open at a time.
func TestDeepTree(t *testing.T) {
	const levels, width = 100, 200 // 20,000 bytes
	from, to := t.TempDir(), t.TempDir()
	deepen(t, from, levels, width)
	limitOpenFiles(t, 90)
	raw, report := archive(t, from)
	if report.Entries != 1+2*levels {
		t.Errorf("%d entries", report.Entries)
	}
	if _, err := volume.Extract(t.Context(), bytes.NewReader(raw), to); err != nil {
		t.Fatal(err)
	}
	again, _ := archive(t, to)
	if !bytes.Equal(again, raw) {
		t.Error("what came back is another tree")
	}
	if _, err := volume.Check(bytes.NewReader(raw)); err != nil {
		t.Error(err)
	}
	if err := volume.Clear(t.Context(), to); err != nil {
		t.Error(err)
	}
	if empty, err := volume.IsEmpty(to); err != nil || !empty {
		t.Errorf("%v and %v after it was cleared", empty, err)
	}
}

// deepen makes folders in folders, each with a file.
func deepen(t *testing.T, root string, levels, width int) {
	t.Helper()
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	for i := range levels {
		if err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("%0*d", width-1, i)
		if err := unix.Mkdirat(fd, name, 0o755); err != nil {
			t.Fatal(err)
		}
		file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(file)
		below, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = below
	}
	unix.Close(fd)
}

func limitOpenFiles(t *testing.T, n uint64) {
	t.Helper()
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &before) })
}

// TestZerosBecomeHoles: what is zero takes no room when it is written, and reads as it was.
func TestZerosBecomeHoles(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	content := make([]byte, 1<<20)
	copy(content[300_000:], "in the middle")
	for name, c := range map[string][]byte{"zeros": content, "small": make([]byte, 5000), "tail": append([]byte("x"), make([]byte, 200_000)...)} {
		if err := os.WriteFile(filepath.Join(from, name), c, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, _ := archive(t, from)
	if _, err := volume.Extract(t.Context(), bytes.NewReader(raw), to); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"zeros", "small", "tail"} {
		want, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(to, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, or another content", name, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(to, name), &st); err != nil || st.Blocks*512 > 8192 {
			t.Errorf("%s: %v, takes %d bytes", name, err, st.Blocks*512)
		}
	}
}

package volume_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"holdfast.io/holdfast/internal/volume"
)

// The benchmarks read and write a tree of small files and one of a large file, beside
// GNU tar with all that it can keep:
//
//	go test -run '^$' -bench . -benchtime 5x ./internal/volume
//
// HOLDFAST_BENCH_DIR says where the trees are made.

type tree struct {
	name string
	make func(b *testing.B, dir string)
}

var trees = []tree{
	{"100000-small-files", func(b *testing.B, dir string) { smallFiles(b, dir, 100_000) }},
	{"1GB", func(b *testing.B, dir string) { largeFile(b, dir, 1<<30) }},
}

func smallFiles(b *testing.B, dir string, count int) {
	b.Helper()
	content := make([]byte, 4096)
	fill(content)
	for i := range count {
		folder := filepath.Join(dir, fmt.Sprintf("%03d", i/250))
		if i%250 == 0 {
			must(b, os.Mkdir(folder, 0o755))
		}
		must(b, os.WriteFile(filepath.Join(folder, fmt.Sprintf("file-%06d", i)), content[:1+i%len(content)], 0o644))
	}
}

func largeFile(b *testing.B, dir string, size int64) {
	b.Helper()
	f, err := os.Create(filepath.Join(dir, "file"))
	must(b, err)
	content := make([]byte, 1<<20)
	fill(content)
	for range size / int64(len(content)) {
		_, err := f.Write(content)
		must(b, err)
	}
	must(b, f.Close())
}

func fill(b []byte) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func benchDir(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp(os.Getenv("HOLDFAST_BENCH_DIR"), "volume")
	must(b, err)
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func BenchmarkArchive(b *testing.B) {
	for _, tr := range trees {
		dir := benchDir(b)
		tr.make(b, dir)
		discard(b, func(w io.Writer) error { return gnuArchive(dir, w) }) // so that both find it in memory
		b.Run(tr.name+"/holdfast", func(b *testing.B) {
			for b.Loop() {
				discard(b, func(w io.Writer) error { _, err := volume.Archive(b.Context(), dir, w); return err })
			}
		})
		b.Run(tr.name+"/tar", func(b *testing.B) {
			for b.Loop() {
				discard(b, func(w io.Writer) error { return gnuArchive(dir, w) })
			}
		})
	}
}

// discard reads what is written through a pipe of the kernel, as a container's output is.
func discard(b *testing.B, write func(io.Writer) error) {
	b.Helper()
	r, w, err := os.Pipe()
	must(b, err)
	done := make(chan error)
	go func() {
		buf := make([]byte, 1<<20)
		var err error
		for err == nil {
			_, err = r.Read(buf)
		}
		if err == io.EOF {
			err = nil
		}
		done <- err
	}()
	must(b, write(w))
	must(b, w.Close())
	must(b, <-done)
	must(b, r.Close())
}

func gnuArchive(dir string, w io.Writer) error {
	cmd := exec.Command("tar", gnuCreateArgs(dir)...)
	cmd.Stdout = w
	return cmd.Run()
}

func BenchmarkExtract(b *testing.B) {
	for _, tr := range trees {
		dir := benchDir(b)
		tr.make(b, dir)
		raw, _ := archive(b, dir)
		for name, extract := range map[string]func(to string) error{
			"holdfast": func(to string) error {
				_, err := volume.Extract(b.Context(), bytes.NewReader(raw), to)
				return err
			},
			"tar-and-sync": func(to string) error {
				cmd := exec.Command("sh", "-c", `tar --xattrs --xattrs-include='*' --acls --sparse --numeric-owner -p -C "$1" -xf - && sync -f "$1"`, "sh", to)
				cmd.Stdin = bytes.NewReader(raw)
				return cmd.Run()
			},
		} {
			b.Run(tr.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					to := benchDir(b)
					must(b, extract(to))
					b.StopTimer()
					must(b, os.RemoveAll(to))
					b.StartTimer()
				}
			})
		}
	}
}

// BenchmarkCheck reads an archive of a million entries.
func BenchmarkCheck(b *testing.B) {
	raw := volume.ManyEntries(1_000_000)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if report, err := volume.Check(bytes.NewReader(raw)); err != nil || report.Entries != 1_000_001 {
			b.Fatal(report, err)
		}
	}
}

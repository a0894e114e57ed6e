package demo

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	_ "embed"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// WriterCommand is the hidden sub-command of demo that runs the sample from a program that
// is Holdfast itself.
const WriterCommand = "demo-writer"

// A container from an empty image can only run a statically linked program.
// Holdfast itself is one in a release, but not when the Go tool found a C
// compiler: then the sample is built from its source.

//go:embed sample/sample.go
var sampleSource string

// program returns the path of a static Linux program for the architecture, and
// the command line that makes it write.
func program(ctx context.Context, dir, arch string) (path string, command []string, err error) {
	if own, err := os.Executable(); err == nil && arch == runtime.GOARCH && isStatic(own) {
		return own, []string{"/sample", "demo", WriterCommand}, nil
	}
	path, err = buildSample(ctx, dir, arch)
	return path, []string{"/sample"}, err
}

// isStatic reports whether the file is a Linux program without an interpreter.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil { // not Linux's format
		return false
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return false
		}
	}
	return true
}

// buildEnd is how long an interrupted build may take to end.
const buildEnd = 10 * time.Second

func buildSample(ctx context.Context, dir, arch string) (string, error) {
	src := filepath.Join(dir, "sample")
	files := map[string]string{
		"go.mod":    "module sample\n",
		"sample.go": strings.Replace(sampleSource, "package sample", "package main", 1),
		"main.go":   "package main\n\nfunc main() { panic(Write()) }\n",
	}
	if err := os.MkdirAll(src, 0o700); err != nil {
		return "", err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(src, name), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	out := filepath.Join(src, "program")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", out, ".")
	build.Dir = src
	// What an interrupted build leaves goes with dir.
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOFLAGS=", "GOWORK=off", "GOTMPDIR="+dir)
	build.Cancel = func() error { return build.Process.Signal(os.Interrupt) }
	build.WaitDelay = buildEnd
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the sample program: %w: %s\n"+
			"this holdfast is linked dynamically, so the Go tool is needed; a release, or CGO_ENABLED=0, does without it",
			err, bytes.TrimSpace(text))
	}
	return out, nil
}

// image writes the file system of the sample's image: the program and an empty
// folder to write to.
func image(w io.Writer, program string) error {
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	tw := tar.NewWriter(w)
	headers := []*tar.Header{
		{Typeflag: tar.TypeDir, Name: "data/", Mode: 0o755},
		{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777},
		{Typeflag: tar.TypeReg, Name: "sample", Mode: 0o755, Size: info.Size()},
	}
	for _, h := range headers {
		if err := tw.WriteHeader(h); err != nil {
			return err
		}
	}
	if _, err := io.Copy(tw, f); err != nil {
		return err
	}
	return tw.Close()
}

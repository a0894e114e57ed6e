//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"

	"holdfast.io/holdfast/internal/bench"
)

// machine is what the figures depend on.
type machine struct {
	Engine, Store, Kernel, Zstd, Holdfast, Golang string
	Cores                                         int
}

func describe(ctx context.Context, p bench.Programs, holdfast string) (m machine, err error) {
	m.Golang, m.Cores = runtime.Version(), runtime.NumCPU()
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.Kernel = strings.TrimSpace(string(kernel))
	if m.Engine, err = p.Docker(ctx, "info", "--format", "{{.ServerVersion}}"); err != nil {
		return m, err
	}
	if m.Store, err = p.Docker(ctx, "info", "--format",
		"{{.Driver}} {{range .DriverStatus}}{{println}}{{index . 0}} {{index . 1}}{{end}}"); err != nil {
		return m, err
	}
	m.Store = storeOf(m.Store)
	if m.Zstd, err = p.Output(ctx, nil, "zstd", "--version"); err != nil {
		return m, err
	}
	m.Zstd = regexp.MustCompile(`v?\d+\.\d+\.\d+`).FindString(m.Zstd)
	m.Holdfast, err = p.Output(ctx, nil, holdfast, "version")
	return m, err
}

// storeOf names the image store of an Engine by its driver and its driver's
// status.
func storeOf(info string) string {
	driver, status, _ := strings.Cut(info, "\n")
	driver = strings.TrimSpace(driver)
	if strings.Contains(status, "io.containerd.snapshotter") {
		return fmt.Sprintf("containerd (%s)", driver)
	}
	return fmt.Sprintf("classic (%s)", driver)
}

//go:build linux

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tick is the unit of CPU times in /proc. Linux shows it as 100 a second on
// every architecture.
const tick = time.Second / 100

// process is a running process in /proc.
type process int

func (p process) file(name string) string { return filepath.Join("/proc", strconv.Itoa(int(p)), name) }

// resident is how much memory is resident now, peak how much was at most since
// resetPeak.
func (p process) resident() (int64, error) { return p.status("VmRSS") }
func (p process) peak() (int64, error)     { return p.status("VmHWM") }

func (p process) resetPeak() error { return os.WriteFile(p.file("clear_refs"), []byte("5"), 0) }

// status returns a size in /proc/PID/status, in bytes.
func (p process) status(name string) (int64, error) {
	raw, err := os.ReadFile(p.file("status"))
	if err != nil {
		return 0, err
	}
	return parseStatus(raw, name)
}

func parseStatus(raw []byte, name string) (int64, error) {
	for line := range bytes.Lines(raw) {
		var kib int64
		if n, _ := fmt.Sscanf(string(line), name+": %d kB", &kib); n == 1 {
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("/proc does not tell a process's %s", name)
}

// cpu is the CPU time used so far, by the program and by the kernel for it.
func (p process) cpu() (time.Duration, error) {
	raw, err := os.ReadFile(p.file("stat"))
	if err != nil {
		return 0, err
	}
	return parseStat(raw)
}

// parseStat reads fields 14 and 15, utime and stime. The second field is the
// program's name, with spaces and parentheses as they come.
func parseStat(raw []byte) (time.Duration, error) {
	fields := bytes.Fields(raw[bytes.LastIndexByte(raw, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc tells no CPU time: %q", raw)
	}
	user, err := strconv.ParseInt(string(fields[11]), 10, 64)
	if err != nil {
		return 0, err
	}
	kernel, err := strconv.ParseInt(string(fields[12]), 10, 64)
	return time.Duration(user+kernel) * tick, err
}

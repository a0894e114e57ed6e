//go:build linux

package bench

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

// Process is a running process in /proc.
type Process int

func (p Process) file(name string) string { return filepath.Join("/proc", strconv.Itoa(int(p)), name) }

// Resident is how much memory is resident now, peak how much was at most since
// resetPeak.
func (p Process) Resident() (int64, error) { return p.status("VmRSS") }
func (p Process) Peak() (int64, error)     { return p.status("VmHWM") }

func (p Process) ResetPeak() error { return os.WriteFile(p.file("clear_refs"), []byte("5"), 0) }

// status returns a size in /proc/PID/status, in bytes.
func (p Process) status(name string) (int64, error) {
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

// Read is how many bytes it has read so far, from wherever.
func (p Process) Read() (int64, error) {
	raw, err := os.ReadFile(p.file("io"))
	if err != nil {
		return 0, err
	}
	return parseIO(raw)
}

func parseIO(raw []byte) (n int64, err error) {
	if _, err = fmt.Sscanf(string(raw), "rchar: %d", &n); err != nil {
		return 0, fmt.Errorf("/proc does not tell what a process has read: %q", raw)
	}
	return n, nil
}

// MachineCPU is the CPU time that all of the machine has used so far.
func MachineCPU() (time.Duration, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	return parseMachine(raw)
}

// parseMachine reads the first line: user, nice, system, idle, iowait, irq and softirq time.
func parseMachine(raw []byte) (time.Duration, error) {
	var user, nice, system, idle, wait, irq, soft int64
	if _, err := fmt.Sscanf(string(raw), "cpu %d %d %d %d %d %d %d", &user, &nice, &system, &idle, &wait, &irq, &soft); err != nil {
		return 0, fmt.Errorf("/proc/stat tells no CPU time: %w", err)
	}
	return time.Duration(user+nice+system+irq+soft) * tick, nil
}

// CPU is the CPU time used so far, by the program and by the kernel for it.
func (p Process) CPU() (time.Duration, error) {
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

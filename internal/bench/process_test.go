//go:build linux

package bench

import (
	"os"
	"testing"
	"time"
)

func TestParseStatReadsBehindAnOddName(t *testing.T) {
	raw := "42 (a) b (c) S 1 42 42 0 -1 4194560 100 0 0 0 150 25 7 8 20 0 9 0 12345 0 0"
	if got, err := parseStat([]byte(raw)); err != nil || got != 1750*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parseStat([]byte("42 (a) S 1")); err == nil {
		t.Error("a line that is too short is taken")
	}
}

func TestParseMachineLeavesOutWhatWaits(t *testing.T) {
	raw := "cpu  100 20 30 4000 500 6 7 8 9 10\ncpu0 1 2 3 4 5 6 7 0 0 0\n"
	if got, err := parseMachine([]byte(raw)); err != nil || got != 1630*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parseMachine([]byte("intr 1")); err == nil {
		t.Error("a line that tells nothing is taken")
	}
}

func TestParseIO(t *testing.T) {
	if got, err := parseIO([]byte("rchar: 4711\nwchar: 1\n")); err != nil || got != 4711 {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := parseIO([]byte("wchar: 1")); err == nil {
		t.Error("a file without it is taken")
	}
}

func TestProcessReadsThisOne(t *testing.T) {
	self := Process(os.Getpid())
	now, err := self.Resident()
	if err != nil {
		t.Fatal(err)
	}
	most, err := self.Peak()
	if err != nil {
		t.Fatal(err)
	}
	if now <= 0 || most <= 0 {
		t.Errorf("%d bytes are resident, and were %d at most", now, most)
	}
	if _, err := self.CPU(); err != nil {
		t.Error(err)
	}
	if _, err := MachineCPU(); err != nil {
		t.Error(err)
	}
	if n, err := self.Read(); n <= 0 || err != nil {
		t.Errorf("%d bytes were read, %v", n, err)
	}
	if _, err := self.status("VmNothing"); err == nil {
		t.Error("a line that is not there is taken")
	}
}

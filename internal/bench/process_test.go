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
	if _, err := self.status("VmNothing"); err == nil {
		t.Error("a line that is not there is taken")
	}
}

package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"holdfast.io/holdfast/internal/codec"
)

const fanPatience = time.Second

// taker is what a branch of a Fan is written to, and what came of that.
type taker struct {
	bytes.Buffer
	before func(n int) error // of the nth write, from 0
	writes int
	late   bool
	err    error
}

func (k *taker) Write(p []byte) (int, error) {
	if k.before != nil {
		if err := k.before(k.writes); err != nil {
			return 0, err
		}
	}
	k.writes++
	return k.Buffer.Write(p)
}

// fanned writes content to takers, and returns when all have ended or given up, and how
// long the writing took.
func fanned(t *testing.T, content []byte, stop <-chan struct{}, takers ...*taker) (took time.Duration, err error) {
	t.Helper()
	fan := codec.NewFan(stop, fanPatience)
	var all sync.WaitGroup
	for _, k := range takers {
		b := fan.Branch(0, always, func() { k.late = true })
		all.Go(func() { _, k.err = b.WriteTo(k) })
	}
	began := time.Now()
	_, err = io.Copy(fan, bytes.NewReader(content))
	took = time.Since(began)
	fan.End(err)
	all.Wait()
	return took, err
}

// always is how long a branch was away that is never anything else.
func always() time.Duration { return time.Since(time.Unix(0, 0)) }

func noise(n int) []byte {
	content := make([]byte, n)
	for i := range content {
		content[i] = byte(i * i >> 7)
	}
	return content
}

func TestFan(t *testing.T) {
	broken := errors.New("broken")
	content := noise(20<<20 + 7)
	for name, c := range map[string]struct {
		before func(n int) error
		err    error
		late   bool
		within time.Duration // that the writing took
	}{
		"all are alike":            {nil, nil, false, 0},
		"one fails at once":        {func(int) error { return broken }, broken, false, 0},
		"one fails in the midst":   {failsAt(7, broken), broken, false, 0},
		"one is slow":              {func(int) error { time.Sleep(time.Minute); return nil }, codec.ErrSlow, true, fanPatience},
		"one hangs":                {func(n int) error { return hangs(n, 5) }, codec.ErrSlow, true, fanPatience},
		"one is slow, but not too": {func(int) error { time.Sleep(time.Second / 1000); return nil }, nil, false, fanPatience},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				odd := &taker{before: c.before}
				others := []*taker{{}, {}}
				took, err := fanned(t, content, nil, others[0], odd, others[1])
				if err != nil {
					t.Fatal(err)
				}
				for i, k := range others {
					if k.err != nil || k.late || !bytes.Equal(k.Bytes(), content) {
						t.Errorf("taker %d got %d of %d bytes: %v", i, k.Len(), len(content), k.err)
					}
				}
				if !errors.Is(odd.err, c.err) || odd.late != c.late {
					t.Errorf("it ended with %v, late %v; want %v, %v", odd.err, odd.late, c.err, c.late)
				}
				if c.err == nil && !bytes.Equal(odd.Bytes(), content) {
					t.Errorf("it got %d bytes", odd.Len())
				}
				if took > c.within {
					t.Errorf("the others waited for %s, want at most %s", took, c.within)
				}
			})
		})
	}
}

func failsAt(n int, err error) func(int) error {
	return func(i int) error {
		if i == n {
			return err
		}
		return nil
	}
}

func hangs(n, at int) error {
	if n == at {
		time.Sleep(24 * time.Hour)
	}
	return nil
}

// The last one is waited for, however slow it is, and nobody is blamed where all are slow.
func TestFanWaitsForTheLast(t *testing.T) {
	content := noise(20 << 20)
	slow := func(int) error { time.Sleep(time.Minute); return nil }
	broken := errors.New("broken")
	for name, takers := range map[string][]*taker{
		"alone":                  {{before: slow}},
		"when the other fails":   {{before: slow}, {before: func(int) error { return broken }}},
		"when all are as slow":   {{before: slow}, {before: slow}},
		"when the other is late": {{before: slow}, {before: func(int) error { time.Sleep(time.Hour); return nil }}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if _, err := fanned(t, content, nil, takers...); err != nil {
					t.Fatal(err)
				}
				if k := takers[0]; k.err != nil || k.late || !bytes.Equal(k.Bytes(), content) {
					t.Errorf("it got %d of %d bytes: %v", k.Len(), len(content), k.err)
				}
			})
		})
	}
}

// A stream that nobody takes, that is stopped, and that is not whole.
func TestFanEnds(t *testing.T) {
	content := noise(20 << 20)
	broken := errors.New("broken")
	fails := func() *taker { return &taker{before: func(int) error { return broken }} }
	synctest.Test(t, func(t *testing.T) {
		a, b := fails(), fails()
		if _, err := fanned(t, content, nil, a, b); !errors.Is(err, codec.ErrNobody) || !errors.Is(a.err, broken) || !errors.Is(b.err, broken) {
			t.Errorf("without anybody: %v, %v, %v", err, a.err, b.err)
		}
		stop := make(chan struct{})
		hanging := &taker{before: func(n int) error { return hangs(n, 0) }}
		time.AfterFunc(time.Minute, func() { close(stop) })
		if took, err := fanned(t, content, stop, hanging); err == nil || took != time.Minute {
			t.Errorf("stopped after a minute: %v after %s", err, took)
		}
		fan := codec.NewFan(nil, fanPatience)
		branch := fan.Branch(0, always, func() {})
		fan.End(broken)
		if _, err := branch.WriteTo(io.Discard); !errors.Is(err, broken) {
			t.Errorf("a stream that is not whole ends with %v", err)
		}
	})
}

// What the others have waited for one before counts.
func TestFanRemembersHowLongItWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waited time.Duration
		for n := range 3 {
			fan := codec.NewFan(nil, fanPatience)
			late := false
			slow := fan.Branch(waited, always, func() { late = true })
			quick := fan.Branch(0, always, func() { t.Error("the quick one is late") })
			var all sync.WaitGroup
			all.Go(func() {
				_, _ = slow.WriteTo(&taker{before: func(n int) error {
					if n == 0 {
						time.Sleep(fanPatience * 2 / 5)
					}
					return nil
				}})
			})
			all.Go(func() { _, _ = quick.WriteTo(io.Discard) })
			_, err := fan.Write(noise(8 << 20))
			fan.End(err)
			all.Wait()
			if err != nil || late != (n == 2) {
				t.Fatalf("stream %d: late %v, %v", n, late, err)
			}
			if waited = slow.Waited(); fmt.Sprint(waited) == "0s" {
				t.Fatal("nobody waited")
			}
		}
	})
}

// For a branch that works, and is not away, the others wait however long it takes.
func TestFanWaitsForWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fan := codec.NewFan(nil, fanPatience)
		var away atomic.Int64
		works := fan.Branch(0, func() time.Duration { return time.Duration(away.Load()) }, func() { t.Error("the one that works is late") })
		quick := fan.Branch(0, always, func() { t.Error("the quick one is late") })
		var all sync.WaitGroup
		content := noise(20 << 20)
		k := &taker{before: func(n int) error {
			time.Sleep(time.Minute)
			away.Add(int64(fanPatience / 100))
			return nil
		}}
		all.Go(func() { _, k.err = works.WriteTo(k) })
		all.Go(func() { _, _ = quick.WriteTo(io.Discard) })
		_, err := fan.Write(content)
		fan.End(err)
		all.Wait()
		if err != nil || k.err != nil || k.Len() != len(content) {
			t.Errorf("%d bytes were taken, %v, %v", k.Len(), err, k.err)
		}
		if works.Waited() > fanPatience/2 {
			t.Errorf("it is said to have been waited for for %s", works.Waited())
		}
	})
}

package ledgertest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/ledger"
)

// Run holds a store to the contract of ledger.Store. Every test opens one; it may
// be the same for all, and need not be empty.
func Run(t *testing.T, open func(t *testing.T) ledger.Store) {
	for name, test := range map[string]func(t *testing.T, s store){
		"a key that is not there":            missing,
		"what was put is there":              putAndGet,
		"only the expected revision":         compareAndSet,
		"revisions grow":                     revisionsGrow,
		"a deleted key":                      deleted,
		"a key that was forgotten":           forgotten,
		"a key that is kept alive":           keptAlive,
		"a listing":                          list,
		"a listing that is broken off":       listBreaksOff,
		"values are copies":                  copies,
		"many create one key":                createRace,
		"many change one key":                updateRace,
		"what is no key":                     noKey,
		"a context that ended":               endedContext,
		"a value of a quarter of a mebibyte": large,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			// A first token that no other test uses keeps tests on one store apart.
			prefix := strings.ReplaceAll(name, " ", "-")
			test(t, store{Store: open(t), t: t, prefix: prefix + "."})
		})
	}
}

// store puts the test's own prefix before keys, and fails the test where no error
// is expected.
type store struct {
	ledger.Store
	t      *testing.T
	prefix string
}

func (s store) ctx() context.Context {
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	s.t.Cleanup(cancel)
	return ctx
}

func (s store) put(key, value string, expected uint64, ttl time.Duration) uint64 {
	s.t.Helper()
	revision, err := s.Put(s.ctx(), s.prefix+key, []byte(value), expected, ttl)
	if err != nil {
		s.t.Fatal(err)
	}
	return revision
}

func (s store) conflict(key, value string, expected uint64) {
	s.t.Helper()
	if revision, err := s.Put(s.ctx(), s.prefix+key, []byte(value), expected, 0); !errors.Is(err, ledger.ErrConflict) {
		s.t.Errorf("put %s with revision %d expected: %d, %v", key, expected, revision, err)
	}
}

func (s store) del(key string) {
	s.t.Helper()
	if err := s.Delete(s.ctx(), s.prefix+key); err != nil {
		s.t.Fatal(err)
	}
}

func (s store) has(key, value string, revision uint64) {
	s.t.Helper()
	v, r, err := s.Get(s.ctx(), s.prefix+key)
	if err != nil || string(v) != value || r != revision {
		s.t.Errorf("%s is %q at revision %d (%v), not %q at %d", key, v, r, err, value, revision)
	}
}

func (s store) isGone(key string) bool {
	s.t.Helper()
	_, _, err := s.Get(s.ctx(), s.prefix+key)
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		s.t.Fatal(err)
	}
	return err != nil
}

func (s store) gone(key string) {
	s.t.Helper()
	if !s.isGone(key) {
		s.t.Errorf("%s is there", key)
	}
}

// lists compares the keys, without the prefix, in any order.
func (s store) lists(pattern string, want ...string) []ledger.Entry {
	s.t.Helper()
	var (
		all  []ledger.Entry
		keys []string
	)
	for e, err := range s.List(s.ctx(), s.prefix+pattern) {
		if err != nil {
			s.t.Fatal(err)
		}
		all = append(all, e)
		keys = append(keys, strings.TrimPrefix(e.Key, s.prefix))
	}
	slices.Sort(keys)
	slices.Sort(want)
	if !slices.Equal(keys, want) {
		s.t.Errorf("%s lists %q, not %q", pattern, keys, want)
	}
	return all
}

func missing(_ *testing.T, s store) {
	s.gone("key")
	s.del("key")
	s.lists(">")
	s.conflict("key", "value", 1)
	s.conflict("key", "value", 1<<40)
}

func putAndGet(_ *testing.T, s store) {
	revision := s.put("key", "value", 0, 0)
	s.has("key", "value", revision)
	revision = s.put("key", "", revision, 0)
	s.has("key", "", revision)
	s.gone("key.below")
	s.gone("other")
}

func compareAndSet(_ *testing.T, s store) {
	first := s.put("key", "1", 0, 0)
	s.conflict("key", "2", 0)
	s.conflict("key", "1", 0) // what another wrote is not one's own because it is the same
	s.conflict("key", "2", first+1)
	second := s.put("key", "2", first, 0)
	s.conflict("key", "3", first)
	s.conflict("key", "2", first)
	s.has("key", "2", second)
}

func revisionsGrow(t *testing.T, s store) {
	var last uint64
	higher := func(revision uint64) {
		t.Helper()
		if revision <= last {
			t.Errorf("revision %d after %d", revision, last)
		}
		last = revision
	}
	higher(s.put("a", "1", 0, 0))
	higher(s.put("b", "1", 0, 0))
	higher(s.put("b", "2", last, 0))
	s.del("b")
	higher(s.put("b", "1", 0, 0))
}

func deleted(_ *testing.T, s store) {
	before := s.put("key", "1", 0, 0)
	s.del("key")
	s.gone("key")
	s.lists(">")
	s.conflict("key", "2", before)
	s.del("key")
	s.gone("key")
	after := s.put("key", "2", 0, 0)
	s.has("key", "2", after)
	s.conflict("key", "3", before)
	s.conflict("key", "3", 0)
}

func forgotten(t *testing.T, s store) {
	kept := s.put("kept", "1", 0, time.Hour)
	s.put("key", "1", 0, 500*time.Millisecond)
	after := time.Now().Add(time.Second)
	for !s.isGone("key") {
		if time.Since(after) > 3*time.Second {
			t.Fatal("it is not forgotten")
		}
		time.Sleep(50 * time.Millisecond)
	}
	if early := time.Until(after); early > 100*time.Millisecond {
		t.Errorf("it was forgotten %s before a whole second had passed", early)
	}
	s.lists(">", "kept")
	s.has("kept", "1", kept)
	again := s.put("key", "2", 0, 0)
	s.has("key", "2", again)
}

func keptAlive(_ *testing.T, s store) {
	const ttl = 3 * time.Second
	revision := s.put("key", "1", 0, ttl)
	for range 2 {
		time.Sleep(2 * time.Second)
		revision = s.put("key", "1", revision, ttl)
	}
	s.has("key", "1", revision)
}

func list(t *testing.T, s store) {
	before := time.Now()
	a := s.put("a.x.job", "1", 0, 0)
	s.put("a.y.job", "2", 0, 0)
	s.put("a.x.item.1", "3", 0, 0)
	s.put("b.x.job", "4", 0, 0)
	s.put("c", "5", 0, 0)
	a = s.put("a.x.job", "6", a, 0) // and so it is the last
	s.del("c")

	s.lists(">", "a.y.job", "a.x.item.1", "b.x.job", "a.x.job")
	s.lists("a.>", "a.y.job", "a.x.item.1", "a.x.job")
	s.lists("*.x.job", "b.x.job", "a.x.job")
	s.lists("a.*")
	s.lists("a.x.job.>")
	s.lists("a.x.*.*", "a.x.item.1")
	s.lists("c")

	e := s.lists("a.x.job", "a.x.job")[0]
	// The server's clock may be another one.
	if string(e.Value) != "6" || e.Revision != a || e.Time.Sub(before).Abs() > time.Minute {
		t.Errorf("%+v; its revision was %d", e, a)
	}
}

func listBreaksOff(t *testing.T, s store) {
	for i := range 5 {
		s.put(strconv.Itoa(i), "", 0, 0)
	}
	var count int
	for _, err := range s.List(s.ctx(), s.prefix+">") {
		if err != nil {
			t.Fatal(err)
		}
		if count++; count == 2 {
			break
		}
	}
	if count != 2 {
		t.Errorf("%d", count)
	}
}

func copies(t *testing.T, s store) {
	value := []byte("value")
	revision, err := s.Put(s.ctx(), s.prefix+"key", value, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	value[0] = 'X'
	got, _, err := s.Get(s.ctx(), s.prefix+"key")
	if err != nil {
		t.Fatal(err)
	}
	got[0] = 'Y'
	s.lists("*", "key")[0].Value[0] = 'Z'
	s.has("key", "value", revision)
}

const racers = 8

func createRace(t *testing.T, s store) {
	var (
		racing sync.WaitGroup
		won    atomic.Int32
	)
	for i := range racers {
		racing.Go(func() {
			_, err := s.Put(s.ctx(), s.prefix+"key", []byte(strconv.Itoa(i)), 0, 0)
			switch {
			case err == nil:
				won.Add(1)
			case !errors.Is(err, ledger.ErrConflict):
				t.Error(err)
			}
		})
	}
	racing.Wait()
	if won.Load() != 1 {
		t.Errorf("%d created it", won.Load())
	}
}

// updateRace counts up: a lost or doubled change gives another number.
func updateRace(t *testing.T, s store) {
	const each = 10
	revision := s.put("key", "0", 0, 0)
	countUp := func() error {
		value, revision, err := s.Get(s.ctx(), s.prefix+"key")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(value))
		if err != nil {
			return err
		}
		_, err = s.Put(s.ctx(), s.prefix+"key", []byte(strconv.Itoa(n+1)), revision, 0)
		return err
	}
	var racing sync.WaitGroup
	for range racers {
		racing.Go(func() {
			for done := 0; done < each; {
				switch err := countUp(); {
				case err == nil:
					done++
				case !errors.Is(err, ledger.ErrConflict):
					t.Error(err)
					return
				}
			}
		})
	}
	racing.Wait()
	value, last, err := s.Get(s.ctx(), s.prefix+"key")
	if err != nil || string(value) != strconv.Itoa(racers*each) || last <= revision {
		t.Errorf("%s at %d, %v", value, last, err)
	}
}

func noKey(t *testing.T, s store) {
	for _, key := range []string{"", "*", "a.*", "a.>", "a..b", "a.", ".a", "a b", "a\r\nb"} {
		if _, err := s.Put(s.ctx(), key, nil, 0, 0); err == nil || errors.Is(err, ledger.ErrConflict) {
			t.Errorf("put %q: %v", key, err)
		}
		if _, _, err := s.Get(s.ctx(), key); err == nil || errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("get %q: %v", key, err)
		}
		if err := s.Delete(s.ctx(), key); err == nil {
			t.Errorf("%q was deleted", key)
		}
	}
	for _, pattern := range []string{"", "a.", "a b", ">.a"} {
		for e, err := range s.List(s.ctx(), pattern) {
			if err == nil {
				t.Errorf("%q lists %+v", pattern, e)
			}
		}
	}
}

func endedContext(t *testing.T, s store) {
	revision := s.put("key", "1", 0, 0)
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, _, err := s.Get(ctx, s.prefix+"key"); !errors.Is(err, why) {
		t.Errorf("get: %v", err)
	}
	if _, err := s.Put(ctx, s.prefix+"key", nil, revision, 0); !errors.Is(err, why) {
		t.Errorf("put: %v", err)
	}
	if err := s.Delete(ctx, s.prefix+"key"); !errors.Is(err, why) {
		t.Errorf("delete: %v", err)
	}
	for _, err := range s.List(ctx, s.prefix+">") {
		if !errors.Is(err, why) {
			t.Errorf("list: %v", err)
		}
	}
	s.has("key", "1", revision)
}

func large(_ *testing.T, s store) {
	value := strings.Repeat("0123456789abcdef", 16<<10)
	s.has("key", value, s.put("key", value, 0, 0))
}

// Package objecttest holds object stores to the port of package object, and the sinks in
// them to that of package sink, and has a store in memory.
package objecttest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// Place is where a store lies, and what can happen to it from outside.
type Place interface {
	// Open returns an instance of the store of its own, as another process has it.
	Open(t *testing.T) object.Store
	// Contents returns every object by its key, and every unfinished upload by a name.
	Contents(t *testing.T) map[string]string
	// Clear removes everything.
	Clear(t *testing.T)
	// Vanish takes the store away.
	Vanish(t *testing.T)
}

// Lacking is a Place whose store cannot do all that the port asks for.
type Lacking interface {
	// Caveats returns a part of each sentence on that.
	Caveats() []string
}

// Run holds a store, and a sink in it, to their ports. place makes a place of its own for
// every test.
func Run(t *testing.T, place func(t *testing.T) Place) {
	RunStore(t, place)
	t.Run("sink", func(t *testing.T) {
		sinktest.Run(t, func(t *testing.T) sinktest.Place { return sinkPlace{place(t)} })
	})
}

// RunStore is the part of Run that is about the store alone.
func RunStore(t *testing.T, place func(t *testing.T) Place) {
	t.Run("store", func(t *testing.T) {
		for _, name := range slices.Sorted(maps.Keys(tests)) {
			t.Run(name, func(t *testing.T) {
				p := place(t)
				tests[name](&fixture{T: t, Place: p, store: p.Open(t)})
			})
		}
	})
}

// RunLocking holds a sink in a store that locks objects to the port of package sink.
func RunLocking(t *testing.T, place func(t *testing.T) LockingPlace) {
	sinktest.RunLocking(t, func(t *testing.T) sinktest.LockingPlace {
		p := place(t)
		return lockingPlace{sinkPlace{p}, p}
	})
}

// LockingPlace is a Place whose stores are [object.Locker].
type LockingPlace interface {
	Place
	// EndLocks ends all locks, as time does.
	EndLocks(t *testing.T)
}

type lockingPlace struct {
	sinkPlace
	locking LockingPlace
}

func (p lockingPlace) EndLocks(t *testing.T) {
	t.Helper()
	p.locking.EndLocks(t)
}

// sinkPlace is the place of a sink in a store.
type sinkPlace struct{ Place }

func (p sinkPlace) Open(t *testing.T) sink.Sink {
	t.Helper()
	s, err := object.Open(t.Context(), p.Place.Open(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (p sinkPlace) Replace(t *testing.T) {
	t.Helper()
	p.Clear(t)
	p.Open(t)
}

// fixture is one test with its store.
type fixture struct {
	*testing.T
	Place
	store object.Store
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

func (f *fixture) reports(what string, err, want error) {
	f.Helper()
	if !errors.Is(err, want) {
		f.Errorf("%s: %v, want an error that is %q", what, err, want)
	}
}

func (f *fixture) put(key, content string) {
	f.Helper()
	f.must(f.store.Put(f.Context(), key, []byte(content)))
}

// holds fails the test unless the object has this content.
func (f *fixture) holds(key, want string) {
	f.Helper()
	got, info, err := f.read(key, 0, -1, "")
	f.must(err)
	if got != want || info.Size != int64(len(want)) {
		f.Errorf("%s holds %d bytes %.40q and is said to have %d, want %d bytes %.40q", key, len(got), got, info.Size, len(want), want)
	}
}

func (f *fixture) read(key string, offset, length int64, version string) (string, object.Info, error) {
	r, info, err := f.store.Open(f.Context(), key, offset, length, version)
	if err != nil {
		return "", info, err
	}
	content, err := io.ReadAll(r)
	return string(content), info, errors.Join(err, r.Close())
}

func (f *fixture) list(prefix string) (keys []string) {
	f.Helper()
	for entry, err := range f.store.List(f.Context(), prefix) {
		f.must(err)
		keys = append(keys, entry.Key)
	}
	return keys
}

// upload writes an object of unknown size.
func (f *fixture) upload(key string, most int64, content []byte) {
	f.Helper()
	u, err := f.store.Begin(f.Context(), key, most)
	f.must(err)
	if _, err = io.Copy(u, bytes.NewReader(content)); err == nil {
		err = u.Commit()
	}
	if err != nil {
		f.Fatal(errors.Join(err, u.Abort(f.Context())))
	}
}

// Size of an object that stores with parts send in several ones.
const manyParts = 41 << 20

var tests = map[string]func(*fixture){
	"an object has the time at which it was stored": func(f *fixture) {
		f.put("a", "content")
		stat, err := f.store.Stat(f.Context(), "a")
		f.must(err)
		_, opened, err := f.read("a", 0, -1, "")
		f.must(err)
		for _, at := range []time.Time{stat.Modified, opened.Modified} {
			if time.Since(at).Abs() > 30*time.Second {
				f.Errorf("it was stored now, and not %s", at)
			}
		}
	},
	"a small object is stored, replaced and removed": func(f *fixture) {
		f.put("a/b", "first")
		f.holds("a/b", "first")
		f.put("a/b", "the second")
		f.holds("a/b", "the second")
		f.put("empty", "")
		f.holds("empty", "")
		for range 2 {
			f.must(f.store.Delete(f.Context(), "a/b"))
			_, err := f.store.Stat(f.Context(), "a/b")
			f.reports("stat", err, sink.ErrNotFound)
			_, _, err = f.read("a/b", 0, -1, "")
			f.reports("open", err, sink.ErrNotFound)
		}
	},
	"an object is created once": func(f *fixture) {
		f.must(f.store.PutNew(f.Context(), "a/b", []byte("first")))
		f.reports("create again", f.store.PutNew(f.Context(), "a/b", []byte("second")), sink.ErrExists)
		f.holds("a/b", "first")
		f.must(f.store.Delete(f.Context(), "a/b"))
		f.must(f.store.PutNew(f.Context(), "a/b", []byte("third")))
		f.holds("a/b", "third")
	},
	"a version changes with the object": func(f *fixture) {
		f.put("a", "one")
		first, err := f.store.Stat(f.Context(), "a")
		f.must(err)
		got, info, err := f.read("a", 1, 2, first.Version)
		f.must(err)
		if got != "ne" || info.Size != first.Size || info.Version != first.Version || !info.Modified.Equal(first.Modified) {
			f.Errorf("it reads %q of %+v, want \"ne\" of %+v", got, info, first)
		}
		f.put("a", "two, and longer")
		_, _, err = f.read("a", 1, 2, first.Version)
		f.reports("open the first version", err, object.ErrChanged)
	},
	"a part of an object is read": func(f *fixture) {
		f.put("a", "0123456789")
		for _, c := range []struct {
			offset, length int64
			want           string
		}{{0, -1, "0123456789"}, {3, -1, "3456789"}, {0, 1, "0"}, {9, 1, "9"}, {2, 5, "23456"}, {8, 100, "89"}} {
			got, info, err := f.read("a", c.offset, c.length, "")
			f.must(err)
			if got != c.want || info.Size != 10 {
				f.Errorf("from %d on %d bytes are %q of %d, want %q of 10", c.offset, c.length, got, info.Size, c.want)
			}
		}
		_, _, err := f.read("a", 11, 1, "")
		f.reports("read beyond the end", err, sink.ErrRange)
	},
	"a listing is in the byte order of the keys, however long": func(f *fixture) {
		if got := f.list(""); len(got) > 0 {
			f.Errorf("there are %q in an empty store", got)
		}
		var want []string
		for i := range 23 {
			for _, c := range []string{"/x", "-x", ".x", "0"} {
				want = append(want, fmt.Sprintf("list/%02d%s", i, c))
			}
		}
		for _, key := range append(want, "lis", "list0/x", "listing") {
			f.put(key, key)
		}
		slices.Sort(want)
		if got := f.list("list/"); !slices.Equal(got, want) {
			f.Errorf("the listing is\n%q, want\n%q", got, want)
		}
		if got := f.list("list/07"); !slices.Equal(got, []string{"list/07-x", "list/07.x", "list/07/x", "list/070"}) {
			f.Errorf("below a prefix that ends in a name there are %q", got)
		}
		if got := f.list("none/"); len(got) > 0 {
			f.Errorf("there are %q below what is not there", got)
		}
		for entry, err := range f.store.List(f.Context(), "list/") {
			f.must(err)
			if entry.Size != int64(len(entry.Key)) {
				f.Errorf("%s is listed with %d bytes", entry.Key, entry.Size)
			}
			break
		}
	},
	"an upload is there when it is committed": func(f *fixture) {
		content := bytes.Repeat([]byte("0123456789abcdef!"), manyParts/17)
		for name, size := range map[string]int{"empty": 0, "one": 1, "many": len(content)} {
			u, err := f.store.Begin(f.Context(), "up/"+name, int64(size))
			f.must(err)
			_, err = io.Copy(u, bytes.NewReader(content[:size]))
			f.must(err)
			if got := f.list("up/" + name); len(got) > 0 {
				f.Errorf("%s is listed before it is committed", got)
			}
			f.must(u.Commit())
			f.holds("up/"+name, string(content[:size]))
		}
		f.upload("up/many", 0, []byte("replaced"))
		f.holds("up/many", "replaced")
	},
	"an upload that is aborted leaves nothing": func(f *fixture) {
		before := f.Contents(f.T)
		for _, size := range []int{0, 1, manyParts} {
			u, err := f.store.Begin(f.Context(), "up/x", 0)
			f.must(err)
			_, err = u.Write(make([]byte, size))
			f.must(err)
			f.must(u.Abort(f.Context()))
			f.unchanged(before)
		}
	},
	"an upload ends with its ctx": func(f *fixture) {
		before := f.Contents(f.T)
		ctx, cancel := context.WithCancel(f.Context())
		u, err := f.store.Begin(ctx, "up/x", 0)
		f.must(err)
		_, err = u.Write(make([]byte, manyParts/2))
		f.must(err)
		cancel()
		if err := u.Commit(); err == nil {
			f.Error("it was committed after the end of its ctx")
		}
		f.must(u.Abort(f.Context()))
		for range 100 { // what was on its way may still arrive
			if maps.Equal(f.Contents(f.T), before) {
				return
			}
			f.must(f.store.Sweep(f.Context(), "up/"))
			time.Sleep(20 * time.Millisecond)
		}
		f.unchanged(before)
	},
	"uploads of dead processes are swept, and only those below a prefix": func(f *fixture) {
		before := f.Contents(f.T)
		begin := func(key string) object.Upload {
			u, err := f.Open(f.T).Begin(f.Context(), key, 0)
			f.must(err)
			_, err = u.Write(bytes.Repeat([]byte(key), manyParts/len(key)))
			f.must(err)
			return u
		}
		dead, other, longer := begin("a/1/dead"), begin("a/2/x"), begin("a/11/x")
		f.must(f.store.Sweep(f.Context(), "a/1/"))
		if err := dead.Commit(); err == nil {
			f.Error("an upload was committed after it was swept")
		}
		f.must(dead.Abort(f.Context()))
		f.must(other.Commit())
		f.must(longer.Commit())
		f.must(f.store.Delete(f.Context(), "a/2/x"))
		f.must(f.store.Delete(f.Context(), "a/11/x"))
		f.must(f.store.Sweep(f.Context(), "none/"))
		f.unchanged(before)
	},
	"what it can do is tried": func(f *fixture) {
		for range 2 { // the object of the first time is there the second time
			caveats, err := f.store.Caveats(f.Context(), "tried")
			f.must(err)
			var want []string
			if lacking, ok := f.Place.(Lacking); ok {
				want = lacking.Caveats()
			}
			if !slices.EqualFunc(caveats, want, strings.Contains) {
				f.Errorf("the caveats are %q, want %q in them", caveats, want)
			}
		}
		if got := f.list(""); !slices.Equal(got, []string{"tried"}) {
			f.Errorf("there are %q", got)
		}
	},
	"messages name the place": func(f *fixture) {
		_, err := f.store.Stat(f.Context(), "x/none")
		if err == nil || !strings.Contains(err.Error(), f.store.Place("x/none")) {
			f.Errorf("%v does not name %s", err, f.store.Place("x/none"))
		}
	},
	"a store that has vanished is not available": func(f *fixture) {
		f.put("a", "a")
		f.Vanish(f.T)
		ctx := f.Context()
		if _, err := f.store.Stat(ctx, "a"); !errors.Is(err, sink.ErrNotFound) { // some answers are without a body
			f.reports("stat", err, sink.ErrUnavailable)
		}
		_, _, oerr := f.read("a", 0, -1, "")
		var lerr error
		for _, err := range f.store.List(ctx, "") {
			lerr = err
		}
		for what, err := range map[string]error{
			"open": oerr, "list": lerr, "put": f.store.Put(ctx, "b", nil), "create": f.store.PutNew(ctx, "b", nil),
			"delete": f.store.Delete(ctx, "a"), "sweep": f.store.Sweep(ctx, "a/"),
		} {
			f.reports(what, err, sink.ErrUnavailable)
		}
	},
}

func (f *fixture) unchanged(before map[string]string) {
	f.Helper()
	after := f.Contents(f.T)
	for key := range before {
		if after[key] != before[key] {
			f.Errorf("%s was changed or removed", key)
		}
	}
	for key := range after {
		if _, there := before[key]; !there {
			f.Errorf("%s is left", key)
		}
	}
}

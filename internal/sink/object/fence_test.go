package object_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
)

const dir = "points/web01/container/web-1/20261122T213000Z-0011aabb"

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t *testing.T, m *objecttest.Memory) *object.Sink {
	t.Helper()
	s, err := object.Open(t.Context(), m.Open(t), "", "")
	must(t, err)
	return s
}

// staged returns an attempt with two artifacts, and the manifest that names them.
func staged(t *testing.T, s sink.Sink) (staging sink.Staging, manifest []byte) {
	t.Helper()
	staging, err := s.Stage(t.Context(), dir, "1")
	must(t, err)
	var keys []string
	for _, name := range []string{"image.tar.zst", "container.json"} {
		w, key, err := staging.Create(t.Context(), name, 0)
		must(t, err)
		_, err = io.WriteString(w, name)
		must(t, err)
		must(t, w.Commit())
		keys = append(keys, key)
	}
	return staging, fmt.Appendf(nil, "%q", keys)
}

// interruptNth has something done just before the nth operation from now on, and reports
// whether there were so many.
func interruptNth(m *objecttest.Memory, n int, do func() error) (reached func() bool) {
	count, done := 0, false
	m.Interrupt(func(string, string) error {
		count++
		if count != n || done {
			return nil
		}
		done = true
		return do()
	})
	return func() bool {
		m.Interrupt(nil)
		return done
	}
}

// whole reports whether the point is there, and fails the test if it is not whole then.
func whole(t *testing.T, m *objecttest.Memory) bool {
	t.Helper()
	all := m.Contents(t)
	manifest, there := all[path.Join(dir, sink.ManifestName)]
	if there && (!strings.Contains(manifest, "image.tar.zst") || all[dir+"/1/image.tar.zst"] == "" || all[dir+"/1/container.json"] == "") {
		t.Errorf("the point is there, and lacks an artifact: %q", all)
	}
	return there
}

// An attempt is taken for dead while its process publishes it: the point is there and whole,
// or Publish fails and it is not there.
func TestUnstageDuringPublish(t *testing.T) {
	for n := 1; ; n++ {
		m := objecttest.NewMemory()
		staging, manifest := staged(t, open(t, m))
		other := open(t, m)
		reached := interruptNth(m, n, func() error { return other.Unstage(context.Background(), dir, "1") })
		err := staging.Publish(t.Context(), manifest)
		last := !reached()
		if there := whole(t, m); there != (err == nil) {
			t.Errorf("unstaged before operation %d: published %t, and Publish reports %v", n, there, err)
		}
		must(t, staging.Discard(t.Context()))
		if last {
			return
		}
	}
}

// The other way round: it is published while it is removed.
func TestPublishDuringUnstage(t *testing.T) {
	for n := 1; ; n++ {
		m := objecttest.NewMemory()
		staging, manifest := staged(t, open(t, m))
		other := open(t, m)
		var published error
		reached := interruptNth(m, n, func() error {
			published = staging.Publish(context.Background(), manifest)
			return nil
		})
		must(t, other.Unstage(t.Context(), dir, "1"))
		if !reached() {
			return
		}
		if there := whole(t, m); there != (published == nil) {
			t.Errorf("published before operation %d: it is there %t, and Publish reports %v", n, there, published)
		}
		must(t, staging.Discard(t.Context()))
	}
}

// The answer to the creation of the manifest is lost, and the store cannot say how it ended
// either: what was stored stays, until somebody knows.
func TestDiscardLeavesWhatMayBePublished(t *testing.T) {
	lost := errors.New("the answer is lost")
	for _, arrives := range []bool{true, false} {
		m := objecttest.NewMemory()
		s := open(t, m)
		staging, manifest := staged(t, s)
		key := path.Join(dir, sink.ManifestName)
		away := false
		m.Interrupt(func(op, k string) error {
			if op == "PutNew" && k == key {
				m.Interrupt(nil)
				if arrives {
					must(t, m.Open(t).PutNew(t.Context(), key, manifest))
				}
				away = true
				m.Interrupt(func(_, k string) error {
					if k == key {
						return lost
					}
					return nil
				})
				return lost
			}
			return nil
		})
		if err := staging.Publish(t.Context(), manifest); !errors.Is(err, lost) || !away {
			t.Errorf("publish reports %v", err)
		}
		if err := staging.Discard(t.Context()); !errors.Is(err, lost) {
			t.Errorf("discard reports %v", err)
		}
		m.Interrupt(nil)
		must(t, staging.Discard(t.Context()))
		if whole(t, m) != arrives {
			t.Errorf("the point is there: %t, want %t", !arrives, arrives)
		}
		if left := len(m.Contents(t)); !arrives && left != 1 { // the identity
			t.Errorf("%d objects are left", left)
		}
	}
}

// The answer is lost, but the store says that the manifest is there: it was published.
func TestAManifestThatIsThereIsOurs(t *testing.T) {
	m := objecttest.NewMemory()
	staging, manifest := staged(t, open(t, m))
	m.Interrupt(func(op, k string) error {
		if op != "PutNew" {
			return nil
		}
		m.Interrupt(nil)
		return m.Open(t).PutNew(context.Background(), k, manifest) // what comes now finds it
	})
	must(t, staging.Publish(t.Context(), manifest))
	must(t, staging.Discard(t.Context()))
	if !whole(t, m) {
		t.Error("the point is not there")
	}
}

// A connection that breaks in the middle costs what was on its way, and an object that was
// replaced is never read as a mixture of both.
func TestReadGoesOn(t *testing.T) {
	m := objecttest.NewMemory()
	s := open(t, m)
	staging, manifest := staged(t, s)
	must(t, staging.Publish(t.Context(), manifest))
	key := dir + "/1/image.tar.zst"
	for _, replaced := range []bool{false, true} {
		r, err := s.Open(t.Context(), key)
		must(t, err)
		_, err = io.ReadFull(r, make([]byte, 4))
		must(t, err)
		if replaced {
			must(t, m.Open(t).Put(t.Context(), key, []byte("IMAGE.TAR.ZST")))
		}
		reached := interruptNth(m, 1, func() error { return errors.New("connection reset") })
		rest, err := io.ReadAll(r)
		switch {
		case !reached():
			t.Fatal("nothing broke")
		case replaced && !errors.Is(err, object.ErrChanged):
			t.Errorf("of an object that was replaced it reads %q, %v", rest, err)
		case !replaced && (err != nil || string(rest) != "e.tar.zst"):
			t.Errorf("it goes on with %q, %v", rest, err)
		}
		must(t, r.Close())
	}
}

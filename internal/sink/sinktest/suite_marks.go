package sinktest

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/sink"
)

var markTests = map[string]func(*fixture){
	"a mark is read back, listed with its point, and replaced whole": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		f.marked(aPoint)
		f.putMark(aPoint, sink.VerifiedName, strings.Repeat("first ", 100))
		f.putMark(aPoint, sink.ProtectedName, "protected")
		f.putMark(aPoint, sink.VerifiedName, "second")
		f.marked(aPoint, sink.ProtectedName, sink.VerifiedName)
		for _, s := range []sink.Sink{f.sink, f.Open(f.T)} {
			f.holds(s, path.Join(aPoint, sink.VerifiedName), "second")
			f.holds(s, path.Join(aPoint, sink.ProtectedName), "protected")
			f.holds(s, manifestOf(aPoint), "{}")
		}
		if n := len(f.Contents(f.T)); n < 4 || n > 5 { // two marks, two objects, and maybe the sink's id
			f.Errorf("the sink holds %d objects", n)
		}
	},
	"a mark is removed alone": func(f *fixture) {
		key := f.store(aPoint, "1", "{}", "image")
		before := f.Contents(f.T)
		for _, name := range sink.MarkNames {
			f.putMark(aPoint, name, name)
			for range 2 { // there is nothing the second time
				f.must(f.sink.Remove(f.Context(), path.Join(aPoint, name)))
				f.unchanged(before)
			}
		}
		f.marked(aPoint)
		f.holds(f.sink, key, "image")
	},
	"marks go with their point": func(f *fixture) {
		f.store(pointOf("web01", "other", "i"), "1", "{}", "other")
		before := f.Contents(f.T)
		f.store(aPoint, "1", "{}", "image")
		for _, name := range sink.MarkNames {
			f.putMark(aPoint, name, name)
		}
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		f.unchanged(before)
		f.store(aPoint, "2", "{}", "again")
		f.marked(aPoint)
	},
	"what is removed whole leaves nothing to be taken up": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		f.putMark(aPoint, sink.RemovedName, "{}")
		for range 2 {
			for dir, err := range f.sink.Leftovers(f.Context(), sink.PointsName) {
				f.must(err)
				f.Errorf("%s is taken for what a removal left", dir)
			}
			f.must(f.sink.RemovePoint(f.Context(), aPoint))
		}
		for _, err := range f.sink.Leftovers(f.Context(), "elsewhere") {
			if err == nil {
				f.Error("there is something elsewhere")
			}
			return
		}
		f.Error("a folder elsewhere is not refused")
	},
	"a mark needs its point": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		staged := pointOf("web01", "staged", "i")
		f.write(f.stage(f.sink, staged, "1"), "image.tar.zst", "image")
		before := f.Contents(f.T)
		for _, dir := range []string{aPoint, staged, pointOf("web02", "none", "i")} {
			f.reports("a mark beside "+dir, f.sink.PutMark(f.Context(), dir, sink.VerifiedName, []byte("x")), sink.ErrNotFound)
		}
		f.unchanged(before)
	},
	"marks and artifacts have names of their own": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		staging := f.stage(f.sink, pointOf("web01", "other", "i"), "1")
		before := f.Contents(f.T)
		for _, name := range append(badKeys, sink.ManifestName, "image.tar.zst", "verified", "volumes/verified.json", "Verified.json") {
			if err := f.sink.PutMark(f.Context(), aPoint, name, []byte("x")); err == nil || errors.Is(err, sink.ErrNotFound) {
				f.Errorf("the mark %.40q: %v, want that it is refused", name, err)
			}
		}
		for _, name := range sink.MarkNames {
			if _, _, err := staging.Create(f.Context(), name, 0); err == nil {
				f.Errorf("the artifact %s is not refused", name)
			}
		}
		f.unchanged(before)
	},
	"of marks that are put at a time one stays": func(f *fixture) {
		const count = 16
		f.store(aPoint, "1", "{}", "image")
		before := f.Contents(f.T)
		sinks := []sink.Sink{f.sink, f.Open(f.T)}
		var errs [count]error
		parallel(count, func(i int) {
			errs[i] = sinks[i%len(sinks)].PutMark(f.Context(), aPoint, sink.VerifiedName, []byte(fmt.Sprint("mark ", i)))
		})
		f.must(errors.Join(errs[:]...))
		got, err := read(f.Context(), f.sink, path.Join(aPoint, sink.VerifiedName))
		f.must(err)
		if !strings.HasPrefix(got, "mark ") {
			f.Errorf("the mark holds %q", got)
		}
		if after := f.Contents(f.T); len(after) != len(before)+1 {
			f.Errorf("the sink holds %d objects, want one more than %d", len(after), len(before))
		}
	},
	"marks do not bring back a point that is removed": func(f *fixture) {
		const count = 12
		before := f.Contents(f.T)
		f.store(aPoint, "1", "{}", "image")
		var errs [count]error
		parallel(count, func(i int) {
			if i == count/2 {
				errs[i] = f.sink.RemovePoint(f.Context(), aPoint)
				return
			}
			for errs[i] == nil && f.Context().Err() == nil {
				errs[i] = f.sink.PutMark(f.Context(), aPoint, sink.MarkNames[i%len(sink.MarkNames)], []byte("mark"))
			}
			if errors.Is(errs[i], sink.ErrNotFound) {
				errs[i] = nil
			}
		})
		f.must(errors.Join(errs[:]...))
		f.unchanged(before)
		if dirs := f.points(f.sink); len(dirs) != 0 {
			f.Errorf("the points are %q", dirs)
		}
	},
}

func (f *fixture) putMark(dir, name, content string) {
	f.Helper()
	f.must(f.sink.PutMark(f.Context(), dir, name, []byte(content)))
}

// marked fails the test unless a point is listed with these marks.
func (f *fixture) marked(dir string, want ...string) {
	f.Helper()
	for found, err := range f.Open(f.T).Points(f.Context(), dir) {
		f.must(err)
		if found.Dir != dir || !slices.Equal(found.Marks, want) {
			f.Errorf("%s has the marks %q, want those of %s: %q", found.Dir, found.Marks, dir, want)
		}
		return
	}
	f.Errorf("%s is not listed", dir)
}

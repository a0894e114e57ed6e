package sinktest

import (
	"errors"
	"io"
	"math"
	"path"
	"slices"

	"holdfast.io/holdfast/internal/sink"
)

var readTests = map[string]func(*fixture){
	"an object has the size that was written": func(f *fixture) {
		key := f.store(aPoint, "1", `{"id":"x"}`, "image")
		for key, want := range map[string]int64{key: 5, manifestOf(aPoint): 10} {
			info, err := f.sink.Stat(f.Context(), key)
			f.must(err)
			if info.Size != want {
				f.Errorf("%s has %d bytes, want %d", key, info.Size, want)
			}
		}
		for _, key := range []string{aPoint, aPoint + "/none", path.Dir(aPoint), "points", key + "/below"} {
			_, err := f.sink.Stat(f.Context(), key)
			f.reports("stat "+key, err, sink.ErrNotFound)
			_, err = f.sink.OpenRange(f.Context(), key, 0, 0)
			f.reports("open a range of "+key, err, sink.ErrNotFound)
		}
	},
	"what lies there is weighed": func(f *fixture) {
		sizer, ok := sink.As[sink.Sizer](f.sink)
		if !ok {
			f.Skip("it is no sink.Sizer")
		}
		other := pointOf("web02", "db", "20261122T213000Z-00112233")
		f.store(aPoint, "1", `{"id":"x"}`, "image")
		f.must(f.sink.PutMark(f.Context(), aPoint, sink.RemovedName, []byte("removed")))
		f.write(f.stage(f.sink, other, "2"), "volumes/data.tar.zst", "vol")
		f.must(f.sink.PutShared(f.Context(), path.Join(sink.LayersName, "a.json"), []byte("of no point")))
		weights, all := map[string]int64{}, int64(0)
		for p, err := range sizer.Sizes(f.Context()) {
			f.must(err)
			weights[p.Of] += p.Bytes
			all += p.Bytes
		}
		id := path.Base(aPoint)
		if all != 10+5+7+3 || weights[id]+weights[id+"-1"] != 22 || weights[path.Base(other)+"-2"] != 3 {
			f.Errorf("there are %v", weights)
		}
	},
	"a range has just its bytes": func(f *fixture) {
		const content = "0123456789"
		staging := f.stage(f.sink, aPoint, "1")
		key := f.write(staging, "image.tar.zst", content)
		empty := f.write(staging, "empty", "")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		for offset := range len(content) + 1 {
			for length := range len(content) - offset + 1 {
				if got := f.readRange(key, int64(offset), int64(length)); got != content[offset:offset+length] {
					f.Errorf("%d bytes from %d on are %q", length, offset, got)
				}
			}
		}
		if got := f.readRange(empty, 0, 0); got != "" {
			f.Errorf("the empty object has %q", got)
		}
		for _, r := range [][2]int64{{0, 11}, {10, 1}, {11, 0}, {5, 6}, {math.MaxInt64, 0}, {1, math.MaxInt64}, {math.MaxInt64, math.MaxInt64}} {
			_, err := f.sink.OpenRange(f.Context(), key, r[0], r[1])
			f.reports("a range beyond the end", err, sink.ErrRange)
		}
		for _, r := range [][2]int64{{-1, 1}, {0, -1}, {math.MinInt64, 1}} {
			if _, err := f.sink.OpenRange(f.Context(), key, r[0], r[1]); err == nil || errors.Is(err, sink.ErrRange) {
				f.Errorf("%d bytes from %d on: %v, want that it is refused", r[1], r[0], err)
			}
		}
	},
}

func (f *fixture) readRange(key string, offset, length int64) string {
	f.Helper()
	r, err := f.sink.OpenRange(f.Context(), key, offset, length)
	f.must(err)
	content, err := io.ReadAll(r)
	f.must(errors.Join(err, r.Close()))
	return string(content)
}

var removeTests = map[string]func(*fixture){
	"a point that is removed leaves nothing": func(f *fixture) {
		other, sibling := pointOf("web01", "other", "i"), path.Dir(aPoint)+"/20261122T213000Z-other"
		f.store(other, "1", "{}", "other")
		f.store(sibling, "1", "{}", "sibling")
		before := f.Contents(f.T)
		staging := f.stage(f.sink, aPoint, "1")
		image := f.write(staging, "image.tar.zst", "image")
		volume := f.write(staging, "volumes/data.tar.zst", "volume")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		for range 2 { // there is nothing the second time
			f.must(f.sink.RemovePoint(f.Context(), aPoint))
			f.unchanged(before)
			for _, s := range []sink.Sink{f.sink, f.Open(f.T)} {
				f.lacks(s, manifestOf(aPoint))
				f.lacks(s, image)
				f.lacks(s, volume)
				if dirs := f.points(s); !slices.Equal(dirs, []string{other, sibling}) {
					f.Errorf("the points are %q", dirs)
				}
			}
		}
	},
	"a point may be stored again where one was removed": func(f *fixture) {
		f.store(aPoint, "1", `"first"`, "first")
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		key := f.store(aPoint, "2", `"second"`, "second")
		f.holds(f.sink, manifestOf(aPoint), `"second"`)
		f.holds(f.sink, key, "second")
	},
	"the last point of a sink is removed": func(f *fixture) {
		before := f.Contents(f.T)
		f.store(aPoint, "1", "{}", "image")
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		f.unchanged(before)
		if dirs := f.points(f.Open(f.T)); len(dirs) != 0 {
			f.Errorf("the points are %q", dirs)
		}
	},
	"what is staged is not removed with the point, or is not published": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		late := f.stage(f.sink, aPoint, "2")
		key := f.write(late, "image.tar.zst", "late")
		f.must(f.sink.RemovePoint(f.Context(), aPoint))
		if err := late.Publish(f.Context(), naming(key)); err != nil {
			f.reports("publish", err, sink.ErrUnavailable)
			f.lacks(f.sink, manifestOf(aPoint))
			return
		}
		f.holds(f.sink, manifestOf(aPoint), string(naming(key)))
		f.holds(f.sink, key, "late")
	},
	"an object is removed alone": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		kept := f.write(staging, "image.tar.zst", "image")
		before := f.Contents(f.T)
		gone := f.write(staging, "volumes/data.tar.zst", "volume")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		for range 2 { // there is nothing the second time
			f.must(f.sink.Remove(f.Context(), gone))
			f.lacks(f.sink, gone)
			f.holds(f.sink, kept, "image")
			f.holds(f.sink, manifestOf(aPoint), "{}")
		}
		if after := f.Contents(f.T); len(after) != len(before)+1 {
			f.Errorf("the sink holds %d objects, want one more than %d", len(after), len(before))
		}
		f.must(f.sink.Remove(f.Context(), pointOf("web01", "none", "i")+"/image.tar.zst"))
	},
	"only objects of points are removed": func(f *fixture) {
		f.store(aPoint, "1", "{}", "image")
		before := f.Contents(f.T)
		for _, key := range []string{manifestOf(aPoint), aPoint, path.Dir(aPoint), "points", "holdfast.json",
			"staging/i-1/image.tar.zst", "x/h/k/n/i/y"} {
			if err := f.sink.Remove(f.Context(), key); err == nil {
				f.Errorf("the removal of %s is not refused", key)
			}
		}
		f.unchanged(before)
	},
}

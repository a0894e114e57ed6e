package sinktest

import (
	"slices"

	"holdfast.io/holdfast/internal/sink"
)

var identityTests = map[string]func(*fixture){
	"the id stays with the sink": func(f *fixture) {
		if f.sink.ID() == "" {
			f.Error("the id is empty")
		}
		f.store(aPoint, "1", "{}", "image")
		if again := f.Open(f.T); again.ID() != f.sink.ID() {
			f.Errorf("the id was %s and is %s", f.sink.ID(), again.ID())
		}
	},
	"another sink has another id": func(f *fixture) {
		f.Replace(f.T)
		if other := f.Open(f.T); other.ID() == f.sink.ID() {
			f.Errorf("both sinks have the id %s", other.ID())
		}
	},
}

var pointTests = map[string]func(*fixture){
	"no point is there before publish": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		f.write(staging, "image.tar.zst", "image")
		f.write(staging, "volumes/data.tar.zst", "volume")
		for _, s := range []sink.Sink{f.sink, f.Open(f.T)} {
			f.lacks(s, manifestOf(aPoint))
			f.lacks(s, aPoint+"/image.tar.zst")
			if dirs := f.points(s); len(dirs) != 0 {
				f.Errorf("there are points: %q", dirs)
			}
		}
	},
	"a published point is there for every instance": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		image := f.write(staging, "image.tar.zst", "image")
		volume := f.write(staging, "volumes/data.tar.zst", "volume")
		f.must(staging.Publish(f.Context(), []byte(`{"id":"x"}`)))
		for _, s := range []sink.Sink{f.sink, f.Open(f.T)} {
			f.holds(s, image, "image")
			f.holds(s, volume, "volume")
			f.holds(s, manifestOf(aPoint), `{"id":"x"}`)
			if dirs := f.points(s); !slices.Equal(dirs, []string{aPoint}) {
				f.Errorf("the points are %q", dirs)
			}
		}
	},
	"a point may have no artifacts": func(f *fixture) {
		staging := f.stage(f.sink, aPoint, "1")
		f.must(staging.Publish(f.Context(), []byte("{}")))
		f.holds(f.sink, manifestOf(aPoint), "{}")
	},
	"attempts at one point do not disturb each other": func(f *fixture) {
		first, second := f.stage(f.sink, aPoint, "1"), f.stage(f.Open(f.T), aPoint, "2")
		f.write(first, "image.tar.zst", "of the first")
		key := f.write(second, "image.tar.zst", "of the second")
		f.must(first.Discard(f.Context()))
		other := f.write(second, "container.json", "also of the second")
		f.must(second.Publish(f.Context(), []byte("{}")))
		f.holds(f.sink, key, "of the second")
		f.holds(f.sink, other, "also of the second")
	},
	"an attempt that a dead process left is replaced": func(f *fixture) {
		dead := f.stage(f.Open(f.T), aPoint, "1")
		stale := f.write(dead, "volumes/stale.tar.zst", "stale")
		f.write(dead, "image.tar.zst", "of the dead one")
		key := f.store(aPoint, "1", "{}", "of the living one")
		f.holds(f.sink, key, "of the living one")
		f.lacks(f.sink, stale)
		for name, content := range f.Contents(f.T) {
			if content == "stale" || content == "of the dead one" {
				f.Errorf("%s of the dead attempt is left", name)
			}
		}
	},
}

var listTests = map[string]func(*fixture){
	"a sink without points yields none": func(f *fixture) {
		if dirs := f.points(f.sink); len(dirs) != 0 {
			f.Errorf("the points are %q", dirs)
		}
	},
	"points come in the byte order of their keys": func(f *fixture) {
		want := []string{ // '%' < '-' < '.' < '/' < digits < letters < '~'
			pointOf("web%20x", "n", "i"), pointOf("web-1", "n", "i"), pointOf("web.1", "n", "i"),
			pointOf("web", "a-b", "i"), pointOf("web", "a", "i-1"), pointOf("web", "a", "i"), pointOf("web", "a", "j"),
			pointOf("web", "a~b", "i"), pointOf("web1", "n", "i"),
		}
		for i := range want {
			dir := want[(i*4)%len(want)]
			f.store(dir, "1", "{}", dir)
		}
		// More than once, and also by the same iterator.
		seq := f.sink.Points(f.Context(), sink.PointsName)
		for range 2 {
			var got []string
			for found, err := range seq {
				f.must(err)
				got = append(got, found.Dir)
			}
			if !slices.Equal(got, want) {
				f.Errorf("the points are\n%q, want\n%q", got, want)
			}
		}
	},
	"a caller may stop at any point": func(f *fixture) {
		f.store(pointOf("web", "a", "i"), "1", "{}", "a")
		f.store(pointOf("web", "b", "i"), "1", "{}", "b")
		for found, err := range f.sink.Points(f.Context(), sink.PointsName) {
			f.must(err)
			if want := pointOf("web", "a", "i"); found.Dir != want {
				f.Errorf("the first point is %s, want %s", found.Dir, want)
			}
			break
		}
	},
	"points are listed below a host, a kind, an item, or alone": func(f *fixture) {
		all := []string{
			pointOf("web-1", "n", "i"), pointOf("web", "a-b", "i"), pointOf("web", "a", "i"), pointOf("web", "a", "j"),
			sink.PointDir("web", "image", "a", "k"), pointOf("web1", "n", "i"),
		}
		for _, dir := range all {
			f.store(dir, "1", "{}", dir)
		}
		for below, want := range map[string][]string{
			"points":                     all,
			"points/web":                 all[1:5],
			"points/web/container":       all[1:4],
			"points/web/container/a":     all[2:4],
			"points/web/container/a/j":   all[3:4],
			"points/web/image":           all[4:5],
			"points/we":                  nil,
			"points/none":                nil,
			"points/web/none/a":          nil,
			"points/web/container/a/x":   nil,
			"points/web/container/a-":    nil,
			"points/web1/container/n/i1": nil,
		} {
			got, err := pointsBelow(f.Context(), f.sink, below)
			f.must(err)
			if !slices.Equal(got, want) {
				f.Errorf("below %s the points are\n%q, want\n%q", below, got, want)
			}
		}
	},
}

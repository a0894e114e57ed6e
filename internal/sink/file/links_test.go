package file_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

const (
	itemDir   = "points/web01/container/web-1"
	aPoint    = itemDir + "/20261122T213000Z-0011aabb"
	otherDir  = itemDir + "/20261122T213100Z-22334455"
	theStaged = "staging/20261122T213100Z-22334455-2"
)

// victim is a sink with a point and a staged attempt at another one.
type victim struct {
	*testing.T
	dir     string
	sink    *file.Sink
	staging sink.Staging
}

func newVictim(t *testing.T) *victim {
	v := &victim{T: t, dir: t.TempDir()}
	v.sink = open(t, v.dir)
	store(t, v.sink, aPoint, "1")
	v.staging = stage(t, v.sink, otherDir, "2")
	write(t, v.staging, "image.tar.zst", "image")
	return v
}

// plant moves what lies at a name in the sink to target, and puts a link in its
// place. What does not lie there leaves a link to nothing.
func (v *victim) plant(name, target string, relative bool) {
	at := filepath.Join(v.dir, name)
	must(v.T, os.MkdirAll(filepath.Dir(at), 0o700))
	if err := os.Rename(at, target); !errors.Is(err, fs.ErrNotExist) {
		must(v.T, err)
	}
	if relative { // an os.Root follows it
		var err error
		target, err = filepath.Rel(filepath.Dir(at), target)
		must(v.T, err)
	}
	must(v.T, os.Symlink(target, at))
}

func (v *victim) open() error {
	_, err := file.Open(v.Context(), v.dir, "", file.Options{})
	return err
}

func (v *victim) probe() error { return probe(v.T, v.sink) }

func (v *victim) stage() error {
	_, err := v.sink.Stage(v.Context(), otherDir, "2")
	return err
}

func (v *victim) unstage() error { return v.sink.Unstage(v.Context(), otherDir, "2") }

func (v *victim) create(name string) error {
	_, _, err := v.staging.Create(v.Context(), name, 0)
	return err
}

func (v *victim) publish() error { return v.staging.Publish(v.Context(), []byte("{}")) }

func (v *victim) read(name string) error {
	r, err := v.sink.Open(v.Context(), aPoint+"/"+name)
	if err == nil {
		must(v.T, r.Close())
	}
	return err
}

func (v *victim) mark() error {
	return v.sink.PutMark(v.Context(), aPoint, sink.VerifiedName, []byte("{}"))
}

func (v *victim) list() error {
	_, err := points(v.T, v.sink)
	return err
}

func (v *victim) listBelow(below string) (err error) {
	for _, err = range v.sink.Points(v.Context(), below) {
	}
	return err
}

func (v *victim) remove() error { return v.sink.RemovePoint(v.Context(), aPoint) }

func TestNoLinkIsFollowed(t *testing.T) {
	tests := []struct {
		link string
		do   string
		run  func(v *victim) error
	}{
		{"holdfast.json", "open", (*victim).open},
		{"holdfast.json", "stage", (*victim).stage},
		{"holdfast.json", "publish", (*victim).publish},
		{"holdfast.json", "list", (*victim).list},
		{"staging", "stage", (*victim).stage},
		{"staging", "probe", (*victim).probe},
		{theStaged, "stage", (*victim).stage},
		{"holdfast.json", "unstage", (*victim).unstage},
		{"staging", "unstage", (*victim).unstage},
		{theStaged, "unstage", (*victim).unstage},
		{theStaged + "/new.tar.zst", "create", func(v *victim) error { return v.create("new.tar.zst") }},
		{theStaged + "/image.tar.zst", "create", func(v *victim) error { return v.create("image.tar.zst") }},
		{theStaged + "/volumes", "create", func(v *victim) error { return v.create("volumes/data.tar.zst") }},
		{theStaged + "/manifest.json", "publish", (*victim).publish},
		{"points", "publish", (*victim).publish},
		{"points/web01", "publish", (*victim).publish},
		{"points/web01/container", "publish", (*victim).publish},
		{itemDir, "publish", (*victim).publish},
		{otherDir, "publish", (*victim).publish},
		{"points", "list", (*victim).list},
		{"points", "read", func(v *victim) error { return v.read("image.tar.zst") }},
		{itemDir, "read", func(v *victim) error { return v.read("image.tar.zst") }},
		{aPoint, "read", func(v *victim) error { return v.read("manifest.json") }},
		{aPoint + "/image.tar.zst", "read", func(v *victim) error { return v.read("image.tar.zst") }},
		{aPoint + "/manifest.json", "read", func(v *victim) error { return v.read("manifest.json") }},
		{aPoint + "/image.tar.zst", "remove", func(v *victim) error { return v.sink.Remove(v.Context(), aPoint+"/image.tar.zst") }},
		{aPoint + "/volumes", "remove", func(v *victim) error { return v.sink.Remove(v.Context(), aPoint+"/volumes/data.tar.zst") }},
		{aPoint + "/verified.json", "put a mark", (*victim).mark},
		{aPoint, "put a mark", (*victim).mark},
		{itemDir, "put a mark", (*victim).mark},
		{aPoint, "remove the point", (*victim).remove},
		{itemDir, "remove the point", (*victim).remove},
		{"points", "remove the point", (*victim).remove},
		{"points/web01", "list below", func(v *victim) error { return v.listBelow("points/web01/container") }},
		{itemDir, "list below", func(v *victim) error { return v.listBelow(aPoint) }},
	}
	for _, test := range tests {
		for _, relative := range []bool{false, true} {
			name := test.do + " with " + test.link + " led outside"
			if relative {
				name = test.do + " with " + test.link + " led within"
			}
			t.Run(name, func(t *testing.T) {
				v := newVictim(t)
				target := filepath.Join(t.TempDir(), "target")
				if relative {
					target = filepath.Join(v.dir, "target")
				}
				v.plant(test.link, target, relative)
				before := contents(t, target)
				err := test.run(v)
				if err == nil || errors.Is(err, sink.ErrNotFound) || errors.Is(err, sink.ErrExists) {
					t.Errorf("the error is %v, want that the link is in the way", err)
				}
				if err != nil && !strings.Contains(err.Error(), filepath.Base(test.link)) {
					t.Errorf("the error is %q, want one that names %s", err, test.link)
				}
				same(t, before, contents(t, target))
			})
		}
	}
}

func TestLinksBelowPointsAreNotListed(t *testing.T) {
	for _, link := range []string{"points/web01", "points/web01/container", itemDir, aPoint, aPoint + "/manifest.json"} {
		v := newVictim(t)
		target := filepath.Join(t.TempDir(), "target")
		v.plant(link, target, false)
		dirs, err := points(t, v.sink)
		must(t, err)
		if len(dirs) != 0 {
			t.Errorf("with a link at %s the points are %q", link, dirs)
		}
	}
}

func TestLinksInADeadAttemptAreRemovedAndNotFollowed(t *testing.T) {
	v := newVictim(t)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "precious"), []byte("x"), 0o600))
	before := contents(t, outside)
	for _, name := range []string{"volumes", "image2.tar.zst"} {
		must(t, os.Symlink(outside, filepath.Join(v.dir, theStaged, name)))
	}
	again := stage(t, v.sink, otherDir, "2")
	same(t, before, contents(t, outside))

	must(t, os.Symlink(outside, filepath.Join(v.dir, theStaged, "volumes")))
	must(t, again.Discard(t.Context()))
	same(t, before, contents(t, outside))
	if exists(filepath.Join(v.dir, theStaged)) {
		t.Error("the attempt is left")
	}

	stage(t, v.sink, otherDir, "2")
	must(t, os.Symlink(outside, filepath.Join(v.dir, theStaged, "volumes")))
	must(t, v.sink.Unstage(t.Context(), otherDir, "2"))
	same(t, before, contents(t, outside))
	if exists(filepath.Join(v.dir, theStaged)) {
		t.Error("the attempt is left")
	}
}

func TestTheSinkItselfMayBeReachedByALink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "backups")
	must(t, os.Symlink(t.TempDir(), link))
	s := open(t, link)
	store(t, s, aPoint, "1")
	dirs, err := points(t, s)
	must(t, err)
	if len(dirs) != 1 || dirs[0] != aPoint {
		t.Errorf("the points are %q", dirs)
	}
}

func TestLinksInAPointAreRemovedAndNotFollowed(t *testing.T) {
	v := newVictim(t)
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "precious"), []byte("x"), 0o600))
	before := contents(t, outside)
	must(t, os.Symlink(outside, filepath.Join(v.dir, aPoint, "linked")))
	must(t, os.Symlink(filepath.Join(outside, "precious"), filepath.Join(v.dir, aPoint, "volumes", "linked")))
	must(t, v.remove())
	same(t, before, contents(t, outside))
	if exists(filepath.Join(v.dir, aPoint)) {
		t.Error("the point is left")
	}
}

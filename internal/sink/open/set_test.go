package open_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/open"
)

// memory keeps ids as the state of a worker does. It is not safe for several
// goroutines, so that the race detector sees whether a Set needs it to be.
type memory struct {
	ids      map[string]string
	recall   error
	remember error
}

func (m *memory) SinkIDs() (map[string]string, error) { return maps.Clone(m.ids), m.recall }

func (m *memory) RememberSink(location, id string) error {
	if m.remember != nil {
		return m.remember
	}
	m.ids[location] = id
	return nil
}

func newMemory() *memory { return &memory{ids: map[string]string{}} }

func newSet(t *testing.T, urls map[string]string, m *memory) *open.Set {
	t.Helper()
	set, err := open.New(configs(urls), m, open.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// configs are sinks that are configured by their URLs alone.
func configs(urls map[string]string) map[string]open.Config {
	all := map[string]open.Config{}
	for name, url := range urls {
		all[name] = open.Config{URL: url}
	}
	return all
}

func TestNewOpensNothing(t *testing.T) {
	dir := t.TempDir()
	set := newSet(t, map[string]string{"b": dir, "a": "file://" + dir + "/none"}, newMemory())
	if got := set.Names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("the names are %q", got)
	}
	if !set.Has("a") || set.Has("c") {
		t.Error("Has is wrong")
	}
	if got, want := set.Location("a"), filepath.Join(dir, "none"); got != want {
		t.Errorf("the location is %q, want %q", got, want)
	}
	if got := set.Location("c"); got != "" {
		t.Errorf("a sink that is not configured is at %q", got)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the folder was used: %v, %v", entries, err)
	}
}

func TestNewRefusesALocation(t *testing.T) {
	_, err := open.New(configs(map[string]string{"good": "/x", "off-site": "gs://bucket"}), newMemory(), open.Keys{})
	if err == nil || !strings.Contains(err.Error(), "off-site") || !strings.Contains(err.Error(), `"gs"`) {
		t.Errorf("New: %v, want it to name the sink and the scheme", err)
	}
}

func TestNewRefusesModes(t *testing.T) {
	_, err := open.New(map[string]open.Config{"nas": {URL: "/x", Modes: "0777"}}, newMemory(), open.Keys{})
	if err == nil || !strings.Contains(err.Error(), "sink nas") || !strings.Contains(err.Error(), `"0777"`) {
		t.Errorf("New: %v, want it to name the sink and what is wrong", err)
	}
}

func TestOpenRemembers(t *testing.T) {
	dir, m := t.TempDir(), newMemory()
	first, err := newSet(t, map[string]string{"default": dir}, m).Open(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if m.ids[dir] != first.ID() {
		t.Errorf("the memory has %q, want %s", m.ids, first.ID())
	}
	set := newSet(t, map[string]string{"default": "file://" + dir}, m)
	second, err := set.Open(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if second.ID() != first.ID() {
		t.Errorf("the id was %s and is %s", first.ID(), second.ID())
	}
	if again, err := set.Open(t.Context(), "default"); err != nil || again != second {
		t.Errorf("the sink was opened again: %v, %v", again, err)
	}
}

func TestOpenUnknownName(t *testing.T) {
	set := newSet(t, map[string]string{"default": t.TempDir(), "nas": t.TempDir()}, newMemory())
	opened, err := set.Open(t.Context(), "tape")
	if opened != nil || err == nil || !strings.Contains(err.Error(), "default, nas") {
		t.Errorf("Open = %v, %v, want an error that names the sinks", opened, err)
	}
}

// A mount that failed leaves an empty folder, which must not become a sink in
// the place of the one that was used before.
func TestOpenAfterTheMountVanished(t *testing.T) {
	dir, m := filepath.Join(t.TempDir(), "mnt"), newMemory()
	locations := map[string]string{"default": dir}
	move := func(from, to string) {
		t.Helper()
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	mkdir := func() {
		t.Helper()
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	mkdir()
	first, err := newSet(t, locations, m).Open(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	move(dir, dir+".disk")

	set := newSet(t, locations, m)
	refused := func(want string) {
		t.Helper()
		opened, err := set.Open(t.Context(), "default")
		if opened != nil || !errors.Is(err, sink.ErrUnavailable) {
			t.Fatalf("Open = %v, %v, want ErrUnavailable", opened, err)
		}
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "sink default") {
			t.Errorf("Open: %v, want it to name the sink and %q", err, want)
		}
	}
	refused("not there")
	mkdir()
	refused(first.ID())
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the empty folder was used: %v, %v", entries, err)
	}

	// The set recovers when the disk is back.
	move(dir, dir+".empty")
	move(dir+".disk", dir)
	back, err := set.Open(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if back.ID() != first.ID() {
		t.Errorf("the id was %s and is %s", first.ID(), back.ID())
	}
}

func TestOpenAnotherSinkInThePlace(t *testing.T) {
	dir, m := t.TempDir(), newMemory()
	other, err := newSet(t, map[string]string{"default": dir}, newMemory()).Open(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	m.ids[dir] = "the-one-before"
	_, err = newSet(t, map[string]string{"default": dir}, m).Open(t.Context(), "default")
	if !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), other.ID()) || !strings.Contains(err.Error(), "the-one-before") {
		t.Errorf("Open: %v, want ErrUnavailable with both ids", err)
	}
	if m.ids[dir] != "the-one-before" {
		t.Errorf("the memory was changed to %q", m.ids[dir])
	}
}

func TestOpenWithoutMemory(t *testing.T) {
	broken := errors.New("state dir is broken")
	for name, m := range map[string]*memory{
		"recall":   {ids: map[string]string{}, recall: broken},
		"remember": {ids: map[string]string{}, remember: broken},
	} {
		t.Run(name, func(t *testing.T) {
			set := newSet(t, map[string]string{"default": t.TempDir()}, m)
			opened, err := set.Open(t.Context(), "default")
			if opened != nil || !errors.Is(err, sink.ErrUnavailable) || !errors.Is(err, broken) {
				t.Fatalf("Open = %v, %v, want ErrUnavailable with the cause", opened, err)
			}
			m.recall, m.remember = nil, nil
			if _, err := set.Open(t.Context(), "default"); err != nil {
				t.Errorf("Open does not recover: %v", err)
			}
		})
	}
}

func TestOpenAtTheSameTime(t *testing.T) {
	names := []string{"a", "b", "c"}
	locations := map[string]string{}
	for _, name := range names {
		locations[name] = t.TempDir()
	}
	m := newMemory()
	set := newSet(t, locations, m)
	var opened [30]sink.Sink
	var wg sync.WaitGroup
	for i := range opened {
		wg.Go(func() {
			s, err := set.Open(t.Context(), names[i%len(names)])
			if err != nil {
				t.Error(err)
			}
			opened[i] = s
		})
	}
	wg.Wait()
	for i, s := range opened {
		if s != opened[i%len(names)] {
			t.Errorf("the sink %s was opened twice", names[i%len(names)])
		}
	}
	if len(m.ids) != len(names) {
		t.Errorf("the memory has %q", m.ids)
	}
}

func TestExistingSetsNoneUp(t *testing.T) {
	dir := t.TempDir()
	if _, err := open.Existing(t.Context(), open.Config{URL: dir}, nil); !errors.Is(err, sink.ErrUnavailable) {
		t.Errorf("Existing: %v, want ErrUnavailable", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the folder was used: %v, %v", entries, err)
	}
}

// Who only looks sets no sink up, and gets one that was used before as Open does.
func TestUsedSetsNoneUp(t *testing.T) {
	dir, m := t.TempDir(), newMemory()
	newSet := func() *open.Set {
		set, err := open.New(map[string]open.Config{"default": {URL: dir}}, m, open.Keys{})
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	set := newSet()
	if s, err := set.Used(t.Context(), "default"); s != nil || err != nil {
		t.Errorf("of one that was never used it returns %v, %v", s, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("the folder was used: %v, %v", entries, err)
	}
	opened, err := set.Open(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	if s, err := newSet().Used(t.Context(), "default"); err != nil || s == nil || s.ID() != opened.ID() {
		t.Errorf("of one that another process has used it returns %v, %v", s, err)
	}
	if s, err := set.Used(t.Context(), "none"); err == nil || s != nil {
		t.Errorf("of one that is not configured it returns %v, %v", s, err)
	}
}

// Another process works in another folder, so it gets paths that do not depend on that.
func TestConfigIsForAnyFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	set, err := open.New(map[string]open.Config{
		"folder": {URL: "backups", IdentityFile: "identity"},
		"bucket": {URL: "s3://bucket", CredentialsFile: "credentials"},
	}, newMemory(), open.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	folder, bucket := set.Config("folder"), set.Config("bucket")
	for _, path := range []string{folder.URL, folder.IdentityFile, bucket.CredentialsFile} {
		if !filepath.IsAbs(path) {
			t.Errorf("%q is not absolute", path)
		}
	}
	if bucket.URL != "s3://bucket" || bucket.IdentityFile != "" {
		t.Errorf("the bucket is %+v", bucket)
	}
	if got := set.Config("none"); got.URL != "" {
		t.Errorf("a sink that is not configured is %+v", got)
	}
}

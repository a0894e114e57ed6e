package enginetest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"holdfast.io/holdfast/internal/engine"
)

// The calls of [engine.Volumes].
const (
	Volumes       Op = "Volumes"
	InspectVolume Op = "InspectVolume"
	VolumeSizes   Op = "VolumeSizes"
	CreateVolume  Op = "CreateVolume"
	RemoveVolume  Op = "RemoveVolume"
)

// AddVolume makes a volume, in place of one that has its name. What is left empty is
// as an Engine has it that was told the name alone.
func (f *Fake) AddVolume(v engine.Volume) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.addVolume(v)
}

// DropVolume removes a volume, as its user.
func (f *Fake) DropVolume(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.volumes, name)
}

// SetVolumeSize says how many bytes a volume has.
func (f *Fake) SetVolumeSize(name string, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.volumeSizes[name] = size
}

// Volumes implements [engine.Volumes].
func (f *Fake) Volumes(ctx context.Context) ([]engine.Volume, error) {
	if _, err := f.begin(ctx, Volumes, ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Values(f.volumes)), nil
}

// InspectVolume implements [engine.Volumes].
func (f *Fake) InspectVolume(ctx context.Context, name string) (*engine.VolumeDetail, error) {
	if _, err := f.begin(ctx, InspectVolume, name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	v, there := f.volumes[name]
	if !there {
		return nil, fmt.Errorf("%w: volume %s", engine.ErrNotFound, name)
	}
	raw, err := json.Marshal(map[string]any{
		"CreatedAt": v.CreatedAt, "Driver": v.Driver, "Labels": v.Labels, "Mountpoint": v.Mountpoint,
		"Name": v.Name, "Options": v.Options, "Scope": v.Scope,
	})
	return &engine.VolumeDetail{Volume: v, Raw: raw}, err
}

// VolumeSizes implements [engine.Volumes].
func (f *Fake) VolumeSizes(ctx context.Context) (map[string]int64, error) {
	if _, err := f.begin(ctx, VolumeSizes, ""); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	sizes := map[string]int64{}
	for name, v := range f.volumes {
		if v.Driver == engine.LocalDriver {
			sizes[name] = f.volumeSizes[name]
		}
	}
	return sizes, nil
}

// CreateVolume implements [engine.Volumes].
func (f *Fake) CreateVolume(ctx context.Context, v engine.Volume) error {
	fault, err := f.begin(ctx, CreateVolume, v.Name)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, there := f.volumes[v.Name]; there {
		return fmt.Errorf("%w: volume %s", engine.ErrNameTaken, v.Name)
	}
	f.addVolume(engine.Volume{Name: v.Name, Driver: v.Driver, Options: v.Options, Labels: v.Labels})
	return fault.late()
}

// RemoveVolume implements [engine.Volumes].
func (f *Fake) RemoveVolume(ctx context.Context, name string) error {
	fault, err := f.begin(ctx, RemoveVolume, name)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if slices.ContainsFunc(c.mounts(), func(m engine.Mount) bool { return m.Type == "volume" && m.Name == name }) {
			return fmt.Errorf("%w: container %s has volume %s", engine.ErrInUse, c.Name, name)
		}
	}
	delete(f.volumes, name)
	return fault.late()
}

// addVolume is called with the lock held.
func (f *Fake) addVolume(v engine.Volume) {
	if v.Driver == "" {
		v.Driver = engine.LocalDriver
	}
	if v.Scope == "" {
		v.Scope = "local"
	}
	if v.CreatedAt.IsZero() {
		v.CreatedAt = time.Now().UTC()
	}
	if v.Mountpoint == "" {
		v.Mountpoint = DataRoot + "/volumes/" + v.Name + "/_data"
	}
	f.volumes[v.Name] = v
}

func (s *suite) volumes(tt *testing.T) {
	t := s.begin(tt)
	name := t.name("volume")
	began := time.Now()
	t.MakeVolume(t, name, map[string]string{"a": "b"})
	list, err := t.Bench.Volumes(t.ctx)
	t.must(err)
	i := slices.IndexFunc(list, func(v engine.Volume) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("volume %s is not listed", name)
	}
	d, err := t.Bench.InspectVolume(t.ctx, name)
	t.must(err)
	for how, v := range map[string]engine.Volume{"listed": list[i], "inspected": d.Volume} {
		t.wantVolume(v, name, how, began)
	}
	var raw struct{ Name string }
	if err := json.Unmarshal(d.Raw, &raw); err != nil || raw.Name != name {
		t.Errorf("the raw document is that of %+v, %v", raw, err)
	}
	sizes, err := t.Bench.VolumeSizes(t.ctx)
	t.must(err)
	if size, counted := sizes[name]; !counted || size < 0 || size > 1<<20 {
		t.Errorf("the empty volume has %d bytes, counted: %v", size, counted)
	}
	_, err = t.Bench.InspectVolume(t.ctx, name+"-other")
	t.wantNotFound(err)
}

// wantVolume checks the volume that the suite made of that name, with the label a=b.
func (t *test) wantVolume(v engine.Volume, name, how string, began time.Time) {
	t.Helper()
	if v.Name != name || v.Driver != engine.LocalDriver || v.Scope != "local" || v.Labels["a"] != "b" || v.Mountpoint == "" || v.InMemory() {
		t.Errorf("it is %s as %+v", how, v)
	}
	// The Engine's clock may be another machine's.
	if off := v.CreatedAt.Sub(began).Abs(); !v.CreatedAt.IsZero() && off > time.Hour {
		t.Errorf("it is %s as made %s from now", how, off)
	}
}

// A volume that was removed and made again is another one.
func (s *suite) volumeAgain(tt *testing.T) {
	t := s.begin(tt)
	name := t.name("volume")
	t.MakeVolume(t, name, nil)
	first, err := t.Bench.InspectVolume(t.ctx, name)
	t.must(err)
	t.DropVolume(t, name)
	_, err = t.Bench.InspectVolume(t.ctx, name)
	t.wantNotFound(err)
	if first.CreatedAt.IsZero() {
		return // this Engine does not tell
	}
	for {
		t.MakeVolume(t, name, nil)
		again, err := t.Bench.InspectVolume(t.ctx, name)
		t.must(err)
		if again.CreatedAt.After(first.CreatedAt) {
			return
		}
		if time.Since(first.CreatedAt) > time.Minute {
			t.Fatalf("made at %s and again now, it is said to have been made at %s", first.CreatedAt, again.CreatedAt)
		}
		t.DropVolume(t, name)
	}
}

// The mounts of a container are the same in the list and in its document, but for
// those in memory.
func (s *suite) mounts(tt *testing.T) {
	t := s.begin(tt)
	name := t.name("volume")
	t.MakeVolume(t, name, nil)
	id := t.container(Spec{Volume: "/anonymous", Mounts: []engine.Mount{
		{Type: "volume", Name: name, Destination: "/data", ReadOnly: true},
		{Type: "bind", Source: "/etc", Destination: "/host"},
	}})
	d, err := t.Bench.Inspect(t.ctx, id)
	t.must(err)
	list, err := t.Containers(t.ctx)
	t.must(err)
	var listed []engine.Mount
	for _, c := range list {
		if c.ID == id {
			listed = c.Mounts
		}
	}
	slices.SortFunc(listed, func(a, b engine.Mount) int { return strings.Compare(a.Destination, b.Destination) })
	if len(d.Mounts) != 3 {
		t.Fatalf("its mounts are %+v, want three", d.Mounts)
	}
	anonymous, source := d.Mounts[0], d.Mounts[1].Source
	want := []engine.Mount{
		{Type: "volume", Name: anonymous.Name, Source: anonymous.Source, Destination: "/anonymous"},
		{Type: "volume", Name: name, Source: source, Destination: "/data", ReadOnly: true},
		{Type: "bind", Source: "/etc", Destination: "/host"},
	}
	if anonymous.Name == "" || !slices.Equal(d.Mounts, want) {
		t.Errorf("its mounts are %+v, want %+v", d.Mounts, want)
	}
	for i := range listed {
		listed[i].Source, d.Mounts[i].Source = "", "" // an Engine may leave out those of volumes
	}
	if !slices.Equal(listed, d.Mounts) {
		t.Errorf("listed are the mounts %+v, want %+v", listed, d.Mounts)
	}
	if _, err := t.Bench.InspectVolume(t.ctx, anonymous.Name); err != nil {
		t.Errorf("its anonymous volume: %v", err)
	}
}

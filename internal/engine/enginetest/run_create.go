package enginetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
)

// runCreate holds an Engine to the comments of [engine.Creator], [engine.Platforms],
// [engine.Networks], and of what makes and removes volumes.
func (s *suite) runCreate(t *testing.T) {
	t.Run("Platform", s.platform)
	t.Run("CreateContainer", s.createContainer)
	t.Run("RenameContainer", s.renameContainer)
	t.Run("SetRestartPolicy", s.setRestartPolicy)
	t.Run("RemoveStopped", s.removeStopped)
	t.Run("Networks", s.networks)
	t.Run("Connect", s.connect)
	t.Run("CreateVolume", s.createVolume)
}

func (s *suite) platform(tt *testing.T) {
	t := s.begin(tt)
	p, err := t.Platform(t.ctx)
	t.must(err)
	for what, value := range map[string]string{
		"Kind": p.Kind, "Version": p.Version, "OS": p.OS, "Architecture": p.Architecture, "HostName": p.HostName,
		"CgroupDriver": p.CgroupDriver, "DefaultRuntime": p.DefaultRuntime, "DefaultLogDriver": p.DefaultLogDriver,
	} {
		if value == "" {
			t.Errorf("%s is empty", what)
		}
	}
	if !slices.Contains([]string{"1", "2"}, p.CgroupVersion) || !p.Speaks("1.24") || p.Speaks("2.0") {
		t.Errorf("its cgroups are of version %q, its API is %q", p.CgroupVersion, p.APIVersion)
	}
	if !slices.Contains(p.Runtimes, p.DefaultRuntime) || !slices.Contains(p.LogDrivers, p.DefaultLogDriver) {
		t.Errorf("what is chosen by default is not there: %+v", p)
	}
}

// create makes a container by the port, with what is given beside its image, and
// removes it with the test.
func (t *test) create(name string, more map[string]any) (id string) {
	t.Helper()
	image := t.name("image") + ":v1"
	t.MakeImage(t, image)
	body := map[string]any{"Image": image}
	for member, value := range more {
		body[member] = value
	}
	raw, err := json.Marshal(body)
	t.must(err)
	created, err := t.CreateContainer(t.ctx, name, raw)
	t.must(err)
	t.Cleanup(func() { t.drop(created.ID) })
	return created.ID
}

// drop removes a container that a test may have removed itself.
func (t *test) drop(id string) {
	ctx := context.WithoutCancel(t.ctx)
	if err := t.Stop(ctx, id); err != nil && !errors.Is(err, engine.ErrNotFound) {
		t.Error(err)
	}
	if err := t.RemoveStopped(ctx, id); err != nil {
		t.Error(err)
	}
}

func (t *test) wantError(what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: the error is %v, want %v", what, err, want)
	}
}

func (s *suite) createContainer(tt *testing.T) {
	t := s.begin(tt)
	name := t.name("created")
	id := t.create(name, map[string]any{
		"Labels":     map[string]string{"a": "b"},
		"HostConfig": map[string]any{"RestartPolicy": map[string]any{"Name": "on-failure", "MaximumRetryCount": 3}},
	})
	d, err := t.Bench.Inspect(t.ctx, id)
	t.must(err)
	if d.Name != name || d.State != events.StateCreated || d.Labels["a"] != "b" || d.Health != engine.HealthNone ||
		d.RestartPolicy != (engine.RestartPolicy{Name: "on-failure", MaximumRetries: 3}) {
		t.Errorf("it is inspected as %+v", d)
	}
	if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(id) {
		t.Errorf("%q is not a full id", id)
	}
	t.must(t.Start(t.ctx, id))
	t.wantState(id, events.StateRunning)

	body := fmt.Appendf(nil, `{"Image":%q}`, d.ImageID)
	_, err = t.CreateContainer(t.ctx, name, body)
	t.wantError("a name that is taken", err, engine.ErrNameTaken)
	_, err = t.CreateContainer(t.ctx, t.name("other"), []byte(`{"Image":"sha256:`+strings.Repeat("0123456789abcdef", 4)+`"}`))
	t.wantNotFound(err)
	_, err = t.CreateContainer(t.ctx, t.name("other"),
		fmt.Appendf(nil, `{"Image":%q,"HostConfig":{"AutoRemove":true,"RestartPolicy":{"Name":"always"}}}`, d.ImageID))
	t.wantError("it removes itself, and is restarted", err, engine.ErrRefusedConfig)
}

func (s *suite) renameContainer(tt *testing.T) {
	t := s.begin(tt)
	first, second := t.name("first"), t.name("second")
	id := t.running(Spec{Name: first})
	t.container(Spec{Name: second})
	t.wantError("a name that is taken", t.RenameContainer(t.ctx, id, second), engine.ErrNameTaken)
	t.must(t.RenameContainer(t.ctx, id, first))
	third := t.name("third")
	for range 2 {
		t.must(t.RenameContainer(t.ctx, id, third))
	}
	d, err := t.Bench.Inspect(t.ctx, id)
	t.must(err)
	if d.Name != third || d.State != events.StateRunning {
		t.Errorf("it is %s and %s, want %s and running", d.Name, d.State, third)
	}
	t.wantNotFound(t.RenameContainer(t.ctx, strings.Repeat("0123456789abcdef", 4), t.name("gone")))
}

func (s *suite) setRestartPolicy(tt *testing.T) {
	t := s.begin(tt)
	id := t.running(Spec{})
	for _, p := range []engine.RestartPolicy{{Name: "unless-stopped"}, {Name: "on-failure", MaximumRetries: 2}, {Name: "no"}} {
		t.must(t.SetRestartPolicy(t.ctx, id, p))
		d, err := t.Bench.Inspect(t.ctx, id)
		t.must(err)
		if d.RestartPolicy != p {
			t.Errorf("its restart policy is %+v, want %+v", d.RestartPolicy, p)
		}
	}
	t.wantNotFound(t.SetRestartPolicy(t.ctx, strings.Repeat("0123456789abcdef", 4), engine.RestartPolicy{Name: "no"}))
}

func (s *suite) removeStopped(tt *testing.T) {
	t := s.begin(tt)
	id := t.create(t.name("stopped"), map[string]any{"Volumes": map[string]any{"/data": map[string]any{}}})
	d, err := t.Bench.Inspect(t.ctx, id)
	t.must(err)
	if len(d.Mounts) != 1 || d.Mounts[0].Name == "" {
		t.Fatalf("its mounts are %+v, want a volume", d.Mounts)
	}
	volume := d.Mounts[0].Name
	t.Cleanup(func() { t.must(t.RemoveVolume(context.WithoutCancel(t.ctx), volume)) })
	t.Cleanup(func() { t.drop(id) }) // first, or the volume is in use
	t.must(t.Start(t.ctx, id))
	t.wantError("it runs", t.RemoveStopped(t.ctx, id), engine.ErrRunning)
	t.must(t.Pause(t.ctx, id))
	t.wantError("it is paused", t.RemoveStopped(t.ctx, id), engine.ErrRunning)
	t.must(t.Unpause(t.ctx, id))
	t.wantState(id, events.StateRunning)
	t.must(t.Stop(t.ctx, id))
	for range 2 {
		t.must(t.RemoveStopped(t.ctx, id))
		_, err = t.Bench.Inspect(t.ctx, id)
		t.wantNotFound(err)
	}
	if _, err := t.InspectVolume(t.ctx, volume); err != nil {
		t.Errorf("its volume is gone with it: %v", err)
	}
}

// network makes a network with a subnet that hardly anybody else has, and removes it
// with the test.
func (t *test) network() engine.Network {
	t.Helper()
	part := fmt.Sprintf("10.%d.%d.", 64+rand.IntN(64), rand.IntN(256))
	n := engine.Network{
		Name: t.name("network"), Driver: "bridge", Internal: true, Labels: map[string]string{"a": "b"},
		Options: map[string]string{"com.docker.network.driver.mtu": "1400"},
		IPAM: engine.IPAM{Driver: "default", Subnets: []engine.Subnet{{
			Subnet: part + "0/24", Range: part + "128/25", Gateway: part + "1", Reserved: map[string]string{"printer": part + "5"}}}},
	}
	id, err := t.CreateNetwork(t.ctx, n)
	t.must(err)
	t.Cleanup(func() { t.must(t.RemoveNetwork(context.WithoutCancel(t.ctx), id)) })
	n.ID, n.Scope = id, "local"
	return n
}

func (s *suite) networks(tt *testing.T) {
	t := s.begin(tt)
	want := t.network()
	all, err := t.Bench.Networks(t.ctx)
	t.must(err)
	i := slices.IndexFunc(all, func(n engine.Network) bool { return n.ID == want.ID })
	if i < 0 {
		t.Fatalf("network %s is not listed", want.Name)
	}
	got := all[i]
	got.IPAM.Options, want.IPAM.Options = nil, nil // an Engine may say that there are none
	gotText, _ := json.Marshal(got)
	if wantText, _ := json.Marshal(want); string(gotText) != string(wantText) {
		t.Errorf("it is listed as\n%s, want\n%s", gotText, wantText)
	}
	_, err = t.CreateNetwork(t.ctx, engine.Network{Name: want.Name, Driver: "bridge"})
	t.wantError("a name that is taken", err, engine.ErrNameTaken)
	_, err = t.CreateNetwork(t.ctx, engine.Network{Name: t.name("network"), Driver: "bridge", IPAM: want.IPAM})
	t.wantError("a subnet that is taken", err, engine.ErrOverlap)

	id, err := t.CreateNetwork(t.ctx, engine.Network{Name: t.name("network"), Driver: "bridge"})
	t.must(err)
	for range 2 {
		t.must(t.RemoveNetwork(t.ctx, id))
	}
}

func (s *suite) connect(tt *testing.T) {
	t := s.begin(tt)
	n := t.network()
	id := t.create(t.name("connected"), map[string]any{"HostConfig": map[string]any{"NetworkMode": "none"}})
	connected := func() map[string]any {
		d, err := t.Bench.Inspect(t.ctx, id)
		t.must(err)
		var doc struct {
			NetworkSettings struct{ Networks map[string]map[string]any }
		}
		t.must(json.Unmarshal(d.Raw, &doc))
		return doc.NetworkSettings.Networks[n.Name]
	}
	if at := connected(); at != nil {
		t.Errorf("it is connected as %v beforehand", at)
	}
	if err := t.Disconnect(t.ctx, n.Name, id); err == nil {
		t.Error("to disconnect what is not connected is no error")
	}
	t.wantNotFound(t.Connect(t.ctx, t.name("none"), id, []byte(`{}`)))
	t.wantNotFound(t.Connect(t.ctx, n.Name, strings.Repeat("0123456789abcdef", 4), []byte(`{}`)))
	// The network none is disconnected from first: no other goes with it.
	if err := t.Disconnect(t.ctx, "none", id); err != nil && !errors.Is(err, engine.ErrNotFound) {
		t.Logf("disconnect from none: %v", err)
	}
	t.must(t.Connect(t.ctx, n.Name, id, []byte(`{"Aliases":["web"]}`)))
	aliases, _ := connected()["Aliases"].([]any)
	if !slices.Contains(aliases, any("web")) {
		t.Errorf("it is connected as %v, want the alias web", connected())
	}
	t.must(t.Disconnect(t.ctx, n.Name, id))
	if at := connected(); at != nil {
		t.Errorf("it is still connected as %v", at)
	}
}

func (s *suite) createVolume(tt *testing.T) {
	t := s.begin(tt)
	v := engine.Volume{Name: t.name("volume"), Driver: engine.LocalDriver, Labels: map[string]string{"a": "b"},
		Options: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}
	t.must(t.CreateVolume(t.ctx, v))
	t.Cleanup(func() { t.must(t.RemoveVolume(context.WithoutCancel(t.ctx), v.Name)) })
	d, err := t.InspectVolume(t.ctx, v.Name)
	t.must(err)
	if d.Driver != v.Driver || d.Labels["a"] != "b" || d.Options["o"] != "size=1m" {
		t.Errorf("it is inspected as %+v", d.Volume)
	}
	t.wantError("a name that is taken", t.CreateVolume(t.ctx, v), engine.ErrNameTaken)
	id := t.create(t.name("user"), map[string]any{"HostConfig": map[string]any{"Binds": []string{v.Name + ":/data"}}})
	t.wantError("it is in use", t.RemoveVolume(t.ctx, v.Name), engine.ErrInUse)
	t.must(t.RemoveStopped(t.ctx, id))
	for range 2 {
		t.must(t.RemoveVolume(t.ctx, v.Name))
	}
	_, err = t.InspectVolume(t.ctx, v.Name)
	t.wantNotFound(err)
}

package docker_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/recreate"
)

// A container is made with every member that the Engine's create call has, and what it
// names; its document and context are taken; all of it is removed; and it is made again
// of document and context. The two documents are compared.
func TestRecreate(t *testing.T) {
	b := openBench(t)
	testRecreate(t, newRecreateWorld(t, b, b))
}

// The same from an Engine of one version and image store to one of another, both ways.
func TestRecreateAcross(t *testing.T) {
	other := os.Getenv("OTHER_DOCKER_HOST")
	if other == "" {
		t.Skip("it takes two Engines: make test-containerd has them")
	}
	here, there := openBench(t), openBenchAt(t, other)
	t.Run("from the other", func(t *testing.T) { testRecreate(t, newRecreateWorld(t, there, here)) })
	t.Run("to the other", func(t *testing.T) { testRecreate(t, newRecreateWorld(t, here, there)) })
}

func testRecreate(t *testing.T, w *recreateWorld) {
	for _, name := range slices.Sorted(maps.Keys(w.specs())) {
		w.make(t, name, w.specs()[name])
	}
	w.take(t)
	w.removeAll(t)
	w.bringBack(t)
	for _, c := range w.made {
		w.compare(t, c)
	}
}

// recreateWorld is what a test of bringing containers back makes.
type recreateWorld struct {
	*bench // where they are at first
	to     *bench
	prefix string
	image  string // the image of the first containers
	source engine.Platform
	target engine.Platform
	made   []*madeContainer
}

// madeContainer is one container of that test.
type madeContainer struct {
	name     string
	id       string
	starts   bool
	snapshot string // the image that it is made from again
	document []byte
	context  *recreate.Context
	now      string // id of the container that was made again
}

func newRecreateWorld(t *testing.T, from, to *bench) *recreateWorld {
	w := &recreateWorld{bench: from, to: to, prefix: uniqueName("recreate")}
	w.image = w.prefix + ":v1"
	r, err := w.api.ImageImport(t.Context(), image.ImportSource{Source: rootFS(t), SourceName: "-"}, w.image, image.ImportOptions{Changes: []string{
		`CMD ["/idle"]`, `ENV FROM_IMAGE=1`, `LABEL from.image=1`, `EXPOSE 7070`, `VOLUME /of-image`,
		`HEALTHCHECK --interval=1h CMD ["/idle", "say", "", "", "0"]`,
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		t.Fatal(err)
	}
	r.Close()
	w.dropImageAfter(t, w.image)
	if w.source, err = from.Platform(t.Context()); err != nil {
		t.Fatal(err)
	}
	if w.target, err = to.Platform(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.makeSurroundings(t)
	return w
}

// dropImageAfter removes an image from both Engines when the test is over.
func (w *recreateWorld) dropImageAfter(t *testing.T, ref string) {
	for _, b := range []*bench{w.bench, w.to} {
		t.Cleanup(func() {
			b.remove(t, func(ctx context.Context) error {
				_, err := b.api.ImageRemove(ctx, ref, image.RemoveOptions{Force: true})
				return err
			})
		})
	}
}

// call is the name of something of this test's.
func (w *recreateWorld) call(name string) string { return w.prefix + "-" + name }

// makeSurroundings makes what the containers use: networks, volumes, and another
// container.
func (w *recreateWorld) makeSurroundings(t *testing.T) {
	ipv6 := true
	front := network.CreateOptions{Driver: "bridge", EnableIPv6: &ipv6, Labels: map[string]string{"front": "yes"},
		Options: map[string]string{"com.docker.network.driver.mtu": "1400"},
		IPAM: &network.IPAM{Driver: "default", Config: []network.IPAMConfig{
			{Subnet: w.subnet() + ".0/24", IPRange: w.subnet() + ".128/25", Gateway: w.subnet() + ".1", AuxAddress: map[string]string{"printer": w.subnet() + ".5"}},
			{Subnet: w.subnet6() + "::/64", Gateway: w.subnet6() + "::1"},
		}}}
	back := network.CreateOptions{Driver: "bridge", Internal: true, Attachable: true}
	for name, o := range map[string]network.CreateOptions{"front": front, "back": back} {
		n, err := w.api.NetworkCreate(t.Context(), w.call(name), o)
		if err != nil {
			t.Fatalf("make the network %s: %v", name, err)
		}
		t.Cleanup(func() { w.remove(t, func(ctx context.Context) error { return w.api.NetworkRemove(ctx, n.ID) }) })
	}
	for name, o := range map[string]volume.CreateOptions{
		"files":   {Labels: map[string]string{"a": "b"}},
		"scratch": {Driver: "local", DriverOpts: map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=1000"}},
	} {
		o.Name = w.call(name)
		if _, err := w.api.VolumeCreate(t.Context(), o); err != nil {
			t.Fatalf("make the volume %s: %v", name, err)
		}
		t.Cleanup(func() {
			w.remove(t, func(ctx context.Context) error { return w.api.VolumeRemove(ctx, w.call(name), false) })
		})
	}
}

// subnet is the beginning of the IPv4 addresses of this test's network, subnet6 that
// of its IPv6 addresses.
func (w *recreateWorld) subnet() string {
	n := w.number()
	return fmt.Sprintf("10.%d.%d", 128+n>>8%64, n&255)
}

func (w *recreateWorld) subnet6() string {
	return fmt.Sprintf("fd00:f%x:%x", w.number()>>8, w.number()&255)
}

// number is one of the test's own, below 65536.
func (w *recreateWorld) number() int {
	n := 0
	for _, b := range []byte(w.prefix) {
		n = (n*31 + int(b)) % 65536
	}
	return n
}

func (w *recreateWorld) make(t *testing.T, name string, s containerSpec) {
	t.Helper()
	s.config.Image = w.image
	host, endpoints := s.host, s.endpoints
	connect := map[string]*network.EndpointSettings{}
	if !w.source.Speaks("1.44") && len(endpoints) > 1 {
		connect = endpoints
		main := string(host.NetworkMode)
		endpoints = map[string]*network.EndpointSettings{main: connect[main]}
		delete(connect, main)
	}
	c, err := w.api.ContainerCreate(t.Context(), s.config, host, &network.NetworkingConfig{EndpointsConfig: endpoints}, nil, w.call(name))
	if err != nil {
		t.Fatalf("make the container %s: %v", name, err)
	}
	w.bench.dropAfter(t, c.ID)
	for n, settings := range connect {
		if err := w.api.NetworkConnect(t.Context(), n, c.ID, settings); err != nil {
			t.Fatalf("connect the container %s to %s: %v", name, n, err)
		}
	}
	if s.starts {
		if err := w.Start(t.Context(), c.ID); err != nil {
			t.Fatalf("start the container %s: %v", name, err)
		}
	}
	w.made = append(w.made, &madeContainer{name: name, id: c.ID, starts: s.starts})
}

func (b *bench) dropAfter(t *testing.T, id string) {
	t.Cleanup(func() {
		b.remove(t, func(ctx context.Context) error {
			return b.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: true, RemoveVolumes: true})
		})
	})
}

// take takes down what a point has of each container.
func (w *recreateWorld) take(t *testing.T) {
	t.Helper()
	for _, c := range w.made {
		d, err := w.Inspect(t.Context(), c.id)
		if err != nil {
			t.Fatal(err)
		}
		c.document = d.Raw
		if c.context, err = recreate.Gather(t.Context(), w, d.Raw); err != nil {
			t.Fatal(err)
		}
		raw, err := c.context.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if c.context, err = recreate.DecodeContext(raw); err != nil {
			t.Fatal(err)
		}
		if len(c.context.Unknown) > 0 {
			t.Errorf("%s: what is unknown: %q", c.name, c.context.Unknown)
		}
		if c.name != "all" { // what the others have of their image they have again
			c.snapshot = w.image
			continue
		}
		c.snapshot = w.call(c.name) + "-snapshot:v1"
		if _, err = w.Commit(t.Context(), c.id, engine.CommitOptions{Reference: c.snapshot}); err != nil {
			t.Fatal(err)
		}
		w.dropImageAfter(t, c.snapshot)
	}
	w.moveImages(t)
}

// moveImages brings the images that the containers are made from to the other Engine.
func (w *recreateWorld) moveImages(t *testing.T) {
	t.Helper()
	if w.to == w.bench {
		return
	}
	for _, ref := range []string{w.image, w.call("all") + "-snapshot:v1"} {
		archive, err := w.api.ImageSave(t.Context(), []string{ref})
		if err != nil {
			t.Fatal(err)
		}
		loaded, err := w.to.api.ImageLoad(t.Context(), archive)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, loaded.Body); err != nil {
			t.Fatal(err)
		}
		loaded.Body.Close()
		archive.Close()
	}
}

// removeAll removes containers, networks and volumes.
func (w *recreateWorld) removeAll(t *testing.T) {
	t.Helper()
	for _, c := range slices.Backward(w.made) {
		if err := w.api.ContainerRemove(t.Context(), c.id, container.RemoveOptions{Force: true, RemoveVolumes: true}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range w.made {
		for _, n := range c.context.Networks {
			if strings.HasPrefix(n.Name, w.prefix) {
				if err := w.RemoveNetwork(t.Context(), n.ID); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, v := range c.context.Volumes {
			if err := w.RemoveVolume(t.Context(), v.Name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// bringBack makes all of it again.
func (w *recreateWorld) bringBack(t *testing.T) {
	t.Helper()
	networks, volumes := map[string]bool{}, map[string]bool{}
	for _, c := range w.made {
		for _, n := range c.context.Networks {
			if strings.HasPrefix(n.Name, w.prefix) && !networks[n.Name] {
				networks[n.Name] = true
				id, err := w.to.CreateNetwork(t.Context(), n.Spec(true))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { w.to.remove(t, func(ctx context.Context) error { return w.to.RemoveNetwork(ctx, id) }) })
			}
		}
		for _, v := range c.context.Volumes {
			if volumes[v.Name] {
				continue
			}
			volumes[v.Name] = true
			if err := w.to.CreateVolume(t.Context(), engine.Volume{Name: v.Name, Driver: v.Driver, Options: v.Options, Labels: v.Labels}); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := w.to.RemoveVolume(context.WithoutCancel(t.Context()), v.Name); err != nil {
					t.Error(err)
				}
			})
		}
	}
	for _, c := range w.made {
		w.create(t, c)
	}
}

func (w *recreateWorld) create(t *testing.T, c *madeContainer) {
	t.Helper()
	call, err := recreate.Plan(recreate.Source{Document: c.document, Context: c.context}, &w.target, recreate.Choices{Image: c.snapshot})
	if err != nil {
		t.Fatalf("plan %s: %v", c.name, err)
	}
	for _, text := range call.Warnings {
		t.Logf("%s: %s", c.name, text)
	}
	created, err := w.to.CreateContainer(t.Context(), w.call(c.name), call.Body)
	if err != nil {
		t.Fatalf("create %s: %v", c.name, err)
	}
	c.now = created.ID
	w.to.dropAfter(t, c.now)
	for _, n := range call.Connect {
		if err := w.to.Connect(t.Context(), n.Network, c.now, n.Endpoint); err != nil {
			t.Fatalf("connect %s to %s: %v", c.name, n.Network, err)
		}
	}
	for _, n := range call.Disconnect {
		if err := w.to.Disconnect(t.Context(), n, c.now); err != nil {
			t.Fatalf("disconnect %s from %s: %v", c.name, n, err)
		}
	}
	if c.starts {
		if err := w.to.Start(t.Context(), c.now); err != nil {
			t.Fatalf("start %s: %v", c.name, err)
		}
	}
}

// allowedHere are the differences that a test on one Engine may show. From one Engine to
// another all that has a reason may be.
var allowedHere = []string{
	"/Image", "/Config/Image", "/Config/Hostname", "/Config/Domainname", "/HostConfig/NetworkMode", "/HostConfig/PidMode", "/HostConfig/IpcMode",
	"/HostConfig/Mounts/~1anonymous", "/HostConfig/Mounts/~1of-image", "/HostConfig/Mounts/~1unnamed/Source",
	"/Mounts/~1anonymous/Mode", "/Mounts/~1of-image/Mode",
}

func (w *recreateWorld) compare(t *testing.T, c *madeContainer) {
	t.Helper()
	d, err := w.to.Inspect(t.Context(), c.now)
	if err != nil {
		t.Fatal(err)
	}
	differences, err := recreate.Compare(c.document, d.Raw, recreate.Choices{Image: c.snapshot})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range differences {
		text := fmt.Sprintf("%s: %s was %s, is %s: %s", c.name, d.Member, d.Was, d.Now, d.Reason)
		// Engines from 28 on make MAC addresses at random.
		random := w.target.Speaks("1.48") && strings.HasSuffix(d.Member, "/MacAddress")
		expected := random || w.to != w.bench || slices.Contains(allowedHere, d.Member)
		if d.Reason == "" || !expected {
			t.Error(text)
		} else {
			t.Log(text)
		}
	}
	if t.Failed() {
		t.Logf("%s was\n%s\nis\n%s", c.name, c.document, d.Raw)
	}
}

func uniqueName(what string) string {
	return fmt.Sprintf("hft-%s-%x", what, time.Now().UnixNano())
}

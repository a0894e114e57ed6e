package recreate_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/recreate"
)

// surroundings is an Engine with a container, and what the container uses.
func surroundings(t *testing.T) (e *enginetest.Fake, document []byte) {
	t.Helper()
	e = enginetest.NewFake("web01")
	image := e.AddImage("shop/web:v1")
	gate := e.Add(enginetest.Spec{Name: "gate", Image: "shop/web:v1"}, events.StateRunning)
	if _, err := e.CreateNetwork(t.Context(), engine.Network{Name: "back", Driver: "bridge", Labels: map[string]string{"a": "b"},
		IPAM: engine.IPAM{Subnets: []engine.Subnet{{Subnet: "10.1.0.0/16", Range: "10.1.1.0/24", Gateway: "10.1.0.1"}}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := e.CreateNetwork(t.Context(), engine.Network{Name: "front", Driver: "bridge"}); err != nil {
		t.Fatal(err)
	}
	e.AddVolume(engine.Volume{Name: "files", Options: map[string]string{"o": "x"}})
	created, err := e.CreateContainer(t.Context(), "web", []byte(`{"Image": "`+image+`", "Volumes": {"/data": {}},
		"HostConfig": {"NetworkMode": "front", "PidMode": "container:`+gate+`", "Binds": ["files:/files"], "VolumesFrom": ["gate:ro"]},
		"NetworkingConfig": {"EndpointsConfig": {"front": {"Links": ["`+gate[:12]+`:door"]}, "back": {}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	d, err := e.Inspect(t.Context(), created.ID)
	if err != nil {
		t.Fatal(err)
	}
	return e, d.Raw
}

func TestGather(t *testing.T) {
	e, document := surroundings(t)
	c, err := recreate.Gather(t.Context(), e, document)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Encode(); err != nil {
		t.Error(err)
	}
	if c.Engine.HostName != "web01" || c.Image == nil || c.Image.References[0] != "shop/web:v1" || len(c.Unknown) > 0 {
		t.Errorf("the context is %+v", c)
	}
	var networks []string
	for _, n := range c.Networks {
		networks = append(networks, n.Name+" "+string(n.Subnets))
	}
	if want := []string{"back asked", "front unknown"}; !reflect.DeepEqual(networks, want) {
		t.Errorf("the networks are %q, want %q", networks, want)
	}
	if len(c.Volumes) != 2 || !c.Volumes[0].Anonymous && !c.Volumes[1].Anonymous {
		t.Errorf("the volumes are %+v, want a named and an anonymous one", c.Volumes)
	}
	if len(c.Containers) != 1 || c.Containers[0].Name != "gate" ||
		!reflect.DeepEqual(c.Containers[0].Uses, []recreate.Use{recreate.UsePID, recreate.UseVolumes, recreate.UseLink}) {
		t.Errorf("the containers are %+v", c.Containers)
	}
	for _, n := range c.Networks {
		if got := len(n.Spec(false).IPAM.Subnets); got != map[string]int{"back": 1, "front": 0}[n.Name] || len(n.Spec(true).IPAM.Subnets) != 1 {
			t.Errorf("%s is made again with %d subnets", n.Name, got)
		}
	}
}

// What the Engine does not say is said to be unknown; that it is away is an error.
func TestGatherWithoutAnswers(t *testing.T) {
	e, document := surroundings(t)
	e.DropVolume("files")
	e.Refuse(engine.CallNetworks, engine.CallInspectImage, engine.CallContainers)
	c, err := recreate.Gather(t.Context(), e, document)
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(c.Unknown, "\n")
	for _, want := range []string{"the image that it was made from: GET /images/{name}/json is refused", "its networks: GET /networks is refused",
		"its volume files: not on this Engine", "the other containers that it uses: GET /containers/json is refused"} {
		if !strings.Contains(said, want) {
			t.Errorf("unknown is %q, want %q in it", said, want)
		}
	}
	if len(c.Unknown) != 4 {
		t.Errorf("unknown are %q", c.Unknown)
	}
	e.SetAway(true)
	if _, err := recreate.Gather(t.Context(), e, document); !errors.Is(err, engine.ErrEngineUnavailable) {
		t.Errorf("the error is %v, want ErrEngineUnavailable", err)
	}
}

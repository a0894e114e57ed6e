package restore

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/recreate"
)

const pointID = "20261122T222558Z-1a0b5fe3"

// sourceOf is a point of a container with this configuration, which uses the volume data
// at /data and what the document says besides.
func sourceOf(name, hostConfig, labels string, volumes ...string) *Source {
	s := &Source{
		Manifest: &point.Manifest{ID: pointID, Item: events.Item{Kind: events.ItemContainer, ID: strings.Repeat("a", 64), Name: name},
			Image: &point.Image{ID: "sha256:" + strings.Repeat("b", 64)}},
		Document: []byte(fmt.Sprintf(`{"Id":%q,"Name":"/%s","Config":{"Image":"app","Labels":{%s}},"HostConfig":{%s},
			"Mounts":[{"Type":"volume","Name":"data","Destination":"/data","RW":true}],"NetworkSettings":{"Networks":{}}}`,
			strings.Repeat("a", 64), name, labels, hostConfig)),
	}
	s.Manifest.Artifacts = []events.Artifact{{MediaType: point.MediaTypeImageArchive, UncompressedSize: 2048}}
	for _, v := range volumes {
		s.Manifest.Artifacts = append(s.Manifest.Artifacts, events.Artifact{MediaType: point.MediaTypeVolume, Name: v, UncompressedSize: 1024})
	}
	return s
}

func found(s *Source) Found {
	return Found{PlannedItem: events.PlannedItem{Item: s.Manifest.Item, Point: s.Manifest.ID, Reason: "named"}, Dir: "points/x", Source: s}
}

const binds = `"NetworkMode":"none","Binds":["data:/data"]`

func TestPreflight(t *testing.T) {
	old := engine.Container{ID: strings.Repeat("c", 64), Name: "web"}
	there := []engine.Volume{{Name: "data", Driver: "local"}}
	for name, test := range map[string]struct {
		source *Source
		host   Host
		wish   Wish
		code   events.Code
		action events.VolumeAction // of the volume data
	}{
		"a volume that is missing is made and filled": {sourceOf("web", binds, "", "data"), Host{}, Wish{Volumes: events.VolumesEmpty}, "", events.VolumeCreated},
		"one that is there is filled":                 {sourceOf("web", binds, "", "data"), Host{Volumes: there}, Wish{Volumes: events.VolumesEmpty}, "", events.VolumeFilled},
		"or kept":                                     {sourceOf("web", binds, "", "data"), Host{Volumes: there}, Wish{Volumes: events.VolumesKeep}, "", events.VolumeKept},
		"or left alone":                               {sourceOf("web", binds, "", "data"), Host{Volumes: there}, Wish{Volumes: events.VolumesNone}, "", events.VolumeKept},
		"or its content comes back in a new one":      {sourceOf("web", binds, "", "data"), Host{Volumes: there}, Wish{Volumes: events.VolumesNew}, "", events.VolumeCreated},
		"what the point does not hold is made empty":  {sourceOf("web", binds, ""), Host{}, Wish{Volumes: events.VolumesEmpty}, "", events.VolumeMadeEmpty},
		"what is there is kept then":                  {sourceOf("web", binds, ""), Host{Volumes: there}, Wish{Volumes: events.VolumesEmpty}, "", events.VolumeKept},
		"a name that is taken": {sourceOf("web", binds, "", "data"), Host{Containers: []engine.Container{old}}, Wish{Volumes: events.VolumesEmpty},
			events.CodeNameTaken, events.VolumeCreated},
		"what must not be stopped": {sourceOf("web", binds, "", "data"), Host{Containers: []engine.Container{old},
			Details: map[string]*engine.ContainerDetail{old.ID: {ID: old.ID, Name: "web"}}, Protected: map[string]string{old.ID: "it is the worker"}},
			Wish{Replace: true, Volumes: events.VolumesEmpty}, events.CodeProtected, events.VolumeCreated},
		"what goes when it stops": {sourceOf("web", binds, "", "data"), Host{Containers: []engine.Container{old},
			Details: map[string]*engine.ContainerDetail{old.ID: {ID: old.ID, Name: "web", AutoRemove: true}}},
			Wish{Replace: true, Volumes: events.VolumesEmpty}, events.CodeStopWouldRemove, events.VolumeCreated},
		"what others depend on": {sourceOf("web", binds, "", "data"), Host{Containers: []engine.Container{old},
			Details: map[string]*engine.ContainerDetail{old.ID: {ID: old.ID, Name: "web"}, "d": {ID: "d", Name: "side", Shares: []string{old.ID}}}},
			Wish{Replace: true, Volumes: events.VolumesEmpty}, events.CodeDependants, events.VolumeCreated},
		"a container that is not there": {sourceOf("web", `"NetworkMode":"container:db","Binds":["data:/data"]`, "", "data"), Host{},
			Wish{Volumes: events.VolumesEmpty}, events.CodeNotFound, events.VolumeCreated},
	} {
		t.Run(name, func(t *testing.T) {
			test.wish.As, test.wish.Job = events.RestoreStart, "job"
			test.host.Platform.APIVersion = "1.41"
			item := MakePlan([]Found{found(test.source)}, &test.host, test.wish)[0]
			if item.Code != test.code {
				t.Errorf("it fails by %q (%s), want %q", item.Code, item.Message, test.code)
			}
			i := slices.IndexFunc(item.Volumes, func(v Volume) bool { return v.Was == "data" })
			if i < 0 || item.Volumes[i].Action != test.action {
				t.Errorf("the volumes are %+v, want that data is %s", item.Volumes, test.action)
			}
		})
	}
}

// Those that use the namespaces of what is replaced are made again with it, in order, if
// that is asked for and they can be.
func TestDependants(t *testing.T) {
	web, on := strings.Repeat("c", 64), []string{strings.Repeat("c", 64)}
	const running, exited = events.StateRunning, events.StateExited
	type detail = engine.ContainerDetail
	side := &detail{ID: "s", Name: "side", State: running, Shares: on}
	for name, test := range map[string]struct {
		mode      events.Dependants
		all       []*detail // beside web, which runs
		protected map[string]string
		code      events.Code
		says      string
		want      string // the names of the dependants
	}{
		"none":           {events.DependantsRecreate, []*detail{{ID: "o", Name: "other", State: running}}, nil, "", "", ""},
		"not asked for":  {events.DependantsRefuse, []*detail{side}, nil, events.CodeDependants, "dependants: recreate", ""},
		"asked for":      {events.DependantsRecreate, []*detail{side}, nil, "", "", "side"},
		"of a dependant": {events.DependantsRecreate, []*detail{{ID: "a", Name: "a", State: running, Shares: []string{"s"}}, side}, nil, "", "", "side, a"},
		"of both":        {events.DependantsRecreate, []*detail{{ID: "a", Name: "a", State: running, Shares: []string{web, "s"}}, side}, nil, "", "", "side, a"},
		"in a circle": {events.DependantsRecreate, []*detail{{ID: "a", Name: "a", State: running, Shares: []string{"b", web}},
			{ID: "b", Name: "b", State: running, Shares: []string{"a"}}}, nil, "", "", "a, b"},
		"what goes when it stops": {events.DependantsRecreate, []*detail{{ID: "s", Name: "side", State: running, Shares: on, AutoRemove: true}}, nil,
			events.CodeStopWouldRemove, "side uses namespaces of web, and cannot be made again: it is set to be removed", "side"},
		"a swarm's": {events.DependantsRecreate, []*detail{{ID: "s", Name: "side", State: running, Shares: on,
			Labels: map[string]string{"com.docker.swarm.task.id": "x"}}}, nil, events.CodeStopWouldRemove, "swarm", "side"},
		"what must not be stopped": {events.DependantsRecreate, []*detail{side}, map[string]string{"s": "it is the worker"},
			events.CodeProtected, "must not be stopped: it is the worker", "side"},
		"what cannot be committed": {events.DependantsRecreate, []*detail{{ID: "s", Name: "side", State: events.StateDead, Shares: on}}, nil,
			events.CodeUncommittable, "it is dead", "side"},
		"what hides what it wrote": {events.DependantsRecreate, []*detail{{ID: "s", Name: "side", State: running, Shares: on, Runtime: "runsc"}}, nil,
			events.CodeUnsuitable, "gVisor", "side"},
		"what could not be started again": {events.DependantsRecreate, []*detail{side, {ID: "a", Name: "a", State: running, Shares: []string{"s", "x"}},
			{ID: "x", Name: "x", State: exited}}, nil, events.CodeDependants, "could not be started again", "side, a"},
		"what stands": {events.DependantsRecreate, []*detail{{ID: "s", Name: "side", State: exited, Shares: []string{web, "x"}},
			{ID: "x", Name: "x", State: exited}}, nil, "", "", "side"},
	} {
		t.Run(name, func(t *testing.T) {
			host := &Host{Platform: engine.Platform{APIVersion: "1.41"}, Protected: test.protected,
				Containers: []engine.Container{{ID: web, Name: "web"}}, Details: map[string]*detail{web: {ID: web, Name: "web", State: running}}}
			for _, d := range test.all {
				host.Details[d.ID] = d
			}
			item := MakePlan([]Found{found(sourceOf("web", binds, ""))}, host,
				Wish{As: events.RestoreStart, Job: "job", Replace: true, Volumes: events.VolumesEmpty, Dependants: test.mode})[0]
			if item.Code != test.code || !strings.Contains(item.Message, test.says) || item.dependantNames() != test.want {
				t.Errorf("it fails by %q (%s), with %q; want %q (%s), with %q", item.Code, item.Message, item.dependantNames(), test.code, test.says, test.want)
			}
			told := slices.ContainsFunc(item.Actions, func(a string) bool { return strings.HasSuffix(a, "of what it holds: "+test.want) })
			if item.Code == "" && told != (test.want != "") {
				t.Errorf("what is done is %q", item.Actions)
			}
		})
	}
}

// One request does not replace a container, or make it again, twice; and it says what an
// Engine loses.
func TestDependantsOfTwo(t *testing.T) {
	ids := map[string]string{"web": strings.Repeat("c", 64), "side": strings.Repeat("d", 64)}
	host := func() *Host {
		h := &Host{Platform: engine.Platform{APIVersion: "1.41"}, Details: map[string]*engine.ContainerDetail{}, NaiveDiff: true}
		for name, id := range ids {
			h.Containers = append(h.Containers, engine.Container{ID: id, Name: name})
			h.Details[id] = &engine.ContainerDetail{ID: id, Name: name, State: events.StateRunning}
		}
		h.Details[ids["side"]].Shares = []string{ids["web"]}
		return h
	}
	wish := Wish{As: events.RestoreStart, Job: "job", Replace: true, Volumes: events.VolumesEmpty, Dependants: events.DependantsRecreate}
	for _, order := range [][]string{{"web", "side"}, {"side", "web"}} {
		var all []Found
		for i, name := range order {
			s := sourceOf(name, `"NetworkMode":"none"`, "")
			s.Manifest.ID = fmt.Sprint(pointID[:len(pointID)-1], i)
			all = append(all, found(s))
		}
		items := MakePlan(all, host(), wish)
		if items[0].Code != "" || items[1].Code != events.CodeDependants || !strings.Contains(items[1].Message, "by the same request") {
			t.Errorf("%v fail by %q and %q (%s)", order, items[0].Code, items[1].Code, items[1].Message)
		}
		warned := slices.ContainsFunc(items[0].Warnings, func(w events.Warning) bool { return w.Code == events.WarningNaiveDiff })
		if warned != (order[0] == "web") {
			t.Errorf("%v warn of %+v", order, items[0].Warnings)
		}
	}
}

func TestTakenPorts(t *testing.T) {
	web := sourceOf("web", `"NetworkMode":"bridge","PortBindings":{"80/tcp":[{"HostIp":"","HostPort":"8080"}]}`, "")
	other := engine.Container{ID: "x", Name: "other"}
	if err := json.Unmarshal([]byte(`["127.0.0.1:8080"]`), &other.Ports); err != nil {
		t.Fatal(err)
	}
	host := func() *Host {
		return &Host{Containers: []engine.Container{other}, Platform: engine.Platform{APIVersion: "1.41"}}
	}
	wish := Wish{As: events.RestoreStart, Volumes: events.VolumesEmpty}
	if item := MakePlan([]Found{found(web)}, host(), wish)[0]; item.Code != events.CodePortTaken {
		t.Errorf("it fails by %q, not as the port is taken", item.Code)
	}
	wish.As = events.RestoreCreate // a port is claimed at the start
	if item := MakePlan([]Found{found(web)}, host(), wish)[0]; item.Code != "" {
		t.Errorf("it fails by %q: %s", item.Code, item.Message)
	}
}

// Addresses that another container or network has, and volumes that somebody writes to,
// are seen before anything is touched.
func TestTaken(t *testing.T) {
	source := func(hostConfig, address string) *Source {
		s := sourceOf("web", hostConfig, "", "data")
		s.Document = []byte(strings.Replace(string(s.Document), `"Networks":{}`, `"Networks":{"net":{"IPAMConfig":{"IPv4Address":"`+address+`"}}}`, 1))
		s.Context = &recreate.Context{Networks: []recreate.Network{{Network: network("net", "10.1.0.0/16"), Subnets: recreate.SubnetsUnknown}}}
		return s
	}
	on := `"NetworkMode":"net","Binds":["data:/data"]`
	data := []engine.Volume{{Name: "data"}}
	uses := func(state events.State) []engine.Container {
		return []engine.Container{{ID: "x", Name: "other", State: state, Mounts: []engine.Mount{{Type: "volume", Name: "data"}}}}
	}
	for name, test := range map[string]struct {
		source *Source
		host   Host
		code   events.Code
		says   string
	}{
		"its own":                   {source(on, "10.1.0.9"), Host{Networks: []engine.Network{network("net", "10.1.0.0/16")}}, "", ""},
		"a network that is made":    {source(on, "10.1.0.9"), Host{Networks: []engine.Network{network("other", "10.2.0.0/16")}}, "", ""},
		"another container has it":  {source(on, "10.1.0.9"), Host{Networks: []engine.Network{network("net", "10.1.0.0/16")}, Containers: []engine.Container{{ID: "x", Name: "other", Addresses: []string{"10.1.0.9"}}}}, events.CodeAddressTaken, "other has the address 10.1.0.9"},
		"another network has it":    {source(on, "10.1.0.9"), Host{Networks: []engine.Network{network("other", "10.0.0.0/8")}}, events.CodeAddressTaken, "10.1.0.0/16 overlap with those of network other"},
		"its network does not":      {source(on, "10.1.0.9"), Host{Networks: []engine.Network{network("net", "10.2.0.0/16")}}, events.CodeUnsuitable, "which network net of this host does not have"},
		"a volume that is used":     {source(on, "10.1.0.9"), Host{Volumes: data, Containers: uses(events.StateRunning)}, events.CodeVolumeInUse, "container other runs with volume data"},
		"a volume that nobody uses": {source(on, "10.1.0.9"), Host{Volumes: data, Containers: uses(events.StateExited)}, "", ""},
	} {
		test.host.Platform.APIVersion = "1.41"
		item := MakePlan([]Found{found(test.source)}, &test.host, Wish{As: events.RestoreStart, Job: "job", Volumes: events.VolumesEmpty, Networks: events.NetworksCreate})[0]
		if item.Code != test.code || !strings.Contains(item.Message, test.says) {
			t.Errorf("%s: it fails by %q (%s), want %q (%s)", name, item.Code, item.Message, test.code, test.says)
		}
	}
}

func network(name, subnet string) engine.Network {
	return engine.Network{Name: name, Driver: "bridge", IPAM: engine.IPAM{Subnets: []engine.Subnet{{Subnet: subnet}}}}
}

// A volume of two containers is filled for the first one.
func TestVolumeOfTwo(t *testing.T) {
	for _, there := range [][]engine.Volume{nil, {{Name: "data"}}} {
		first, second := sourceOf("a", binds, "", "data"), sourceOf("b", binds, "", "data")
		second.Manifest.ID = strings.Replace(pointID, "1a", "2b", 1)
		host := &Host{Platform: engine.Platform{APIVersion: "1.41"}, Volumes: there}
		items := MakePlan([]Found{found(first), found(second)}, host, Wish{As: events.RestoreStart, Volumes: events.VolumesReplace})
		if a, b := items[0].Volumes[0].Action, items[1].Volumes[0].Action; a == events.VolumeKept || b != events.VolumeKept {
			t.Errorf("with %v there it is %s, and then %s", there, a, b)
		}
	}
}

// A network that the first container makes gets the addresses that a later one asks for.
func TestSubnetsAreKeptForLater(t *testing.T) {
	known := &recreate.Context{Networks: []recreate.Network{{Network: network("net", "10.1.0.0/16"), Subnets: recreate.SubnetsUnknown}}}
	first, second := sourceOf("a", `"NetworkMode":"net"`, ""), sourceOf("b", `"NetworkMode":"net"`, "")
	first.Context, second.Context = known, known
	second.Manifest.ID = strings.Replace(pointID, "1a", "2b", 1)
	for s, endpoint := range map[*Source]string{first: `{}`, second: `{"IPAMConfig":{"IPv4Address":"10.1.0.9"}}`} {
		s.Document = []byte(strings.Replace(string(s.Document), `"Networks":{}`, `"Networks":{"net":`+endpoint+`}`, 1))
	}
	host := &Host{Platform: engine.Platform{APIVersion: "1.41"}}
	items := MakePlan([]Found{found(first), found(second)}, host, Wish{As: events.RestoreStart, Volumes: events.VolumesEmpty, Networks: events.NetworksCreate})
	if n := items[0].Networks; len(n) != 1 || n[0].Action != events.NetworkCreated || !n[0].KeepSubnets {
		t.Errorf("the first has %+v", n)
	}
	if n := items[1].Networks; len(n) != 1 || n[0].Action != events.NetworkUsed || items[1].Code != "" {
		t.Errorf("the second has %+v, and fails by %s", n, items[1].Message)
	}
}

// What others need comes first: compose services, and containers by their names.
func TestOrder(t *testing.T) {
	compose := func(service, dependsOn string) string {
		return fmt.Sprintf(`"com.docker.compose.project":"shop","com.docker.compose.service":%q,"com.docker.compose.depends_on":%q`, service, dependsOn)
	}
	web := sourceOf("shop-web-1", "", compose("web", "api:service_started:false"))
	api := sourceOf("shop-api-1", "", compose("api", "db:service_healthy:true, cache:service_started:false"))
	db := sourceOf("shop-db-1", "", compose("db", ""))
	side := sourceOf("side", "", "")
	side.Context = &recreate.Context{Containers: []recreate.Container{{Name: "shop-web-1", Uses: []recreate.Use{recreate.UseNetwork}}}}
	var names []string
	for _, s := range inOrder([]*Source{side, web, api, db}) {
		names = append(names, s.Manifest.Item.Name)
	}
	if want := []string{"shop-db-1", "shop-api-1", "shop-web-1", "side"}; !slices.Equal(names, want) {
		t.Errorf("the order is %q, want %q", names, want)
	}
}

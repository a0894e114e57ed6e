package recreate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/recreate"
)

const (
	oldID   = "3f2a9c1b7d10c4719afa76fa448b5eca99e6736885846501d17956f2fcb2de5c"
	otherID = "b7e1f00dbeefc4719afa76fa448b5eca99e6736885846501d17956f2fcb2de5c"
	netID   = "9c11aa22bb33c4719afa76fa448b5eca99e6736885846501d17956f2fcb2de5c"
	imageID = "sha256:5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f"
)

// debian is what Engine 20.10 says of itself, current what one of today does.
func debian() engine.Platform {
	return engine.Platform{
		Kind: "Docker Engine", Version: "20.10.24+dfsg1", APIVersion: "1.41", OS: "linux", Architecture: "amd64", HostName: "web01",
		CgroupVersion: "1", CgroupDriver: "cgroupfs", SwapLimit: true, Runtimes: []string{"io.containerd.runc.v2", "runc"}, DefaultRuntime: "runc",
		LogDrivers: []string{"json-file", "local", "syslog"}, DefaultLogDriver: "json-file",
	}
}

func current() engine.Platform {
	p := debian()
	p.Version, p.APIVersion, p.HostName = "29.1.0", "1.51", "web02"
	p.CgroupVersion, p.PrivateCgroups, p.SecurityOptions = "2", true, []string{"name=cgroupns"}
	return p
}

// value is JSON as it is decoded.
func value(t *testing.T, text string) any {
	t.Helper()
	var v any
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}

// merge puts a value over another as RFC 7396 does, but that null stays.
func merge(below, above any) any {
	b, isObject := below.(map[string]any)
	a, still := above.(map[string]any)
	if !isObject || !still {
		return above
	}
	for name := range a {
		b[name] = merge(b[name], a[name])
	}
	return b
}

const plainDocument = `{
	"Id": "` + oldID + `", "Name": "/web", "Image": "` + imageID + `", "Platform": "linux", "State": {"Status": "running"},
	"Config": {"Image": "shop/web:v1", "Hostname": "3f2a9c1b7d10", "Cmd": ["/web"], "Env": ["A=b"], "Labels": {"x": "y"}},
	"HostConfig": {
		"NetworkMode": "default", "IpcMode": "private", "CgroupnsMode": "host", "ShmSize": 67108864, "Runtime": "runc",
		"LogConfig": {"Type": "json-file", "Config": {}}, "OomKillDisable": false, "Memory": 0, "MemorySwap": 0, "PidsLimit": null,
		"MaskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
			"/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
		"ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
		"RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}
	},
	"Mounts": [],
	"NetworkSettings": {"Networks": {"bridge": {"IPAMConfig": null, "Aliases": null, "NetworkID": "` + netID + `", "EndpointID": "e1",
		"IPAddress": "172.17.0.2", "MacAddress": "02:42:ac:11:00:02"}}}
}`

// row is one thing that a plan must know.
type row struct {
	document string // over plainDocument
	context  func(*recreate.Context)
	none     bool // there is no context
	target   func(*engine.Platform)
	choices  recreate.Choices

	body map[string]string // members of the body, as JSON; "" for one that must not be there
	// differ are the members that are known to differ, need those that are needed, as
	// "kind name", connect and disconnect networks, warn parts of warnings.
	differ, need, connect, disconnect, warn []string
	refused                                 string // part of the error; empty for none
}

func planned(t *testing.T, r row) (*recreate.Call, error) {
	t.Helper()
	doc := value(t, plainDocument)
	if r.document != "" {
		doc = merge(doc, value(t, r.document))
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	src := recreate.Source{Document: raw}
	if !r.none {
		src.Context = &recreate.Context{FormatVersion: 1, Engine: debian(), Containers: []recreate.Container{{ID: otherID, Name: "gate"}}}
		if r.context != nil {
			r.context(src.Context)
		}
	}
	target := debian()
	if r.target != nil {
		r.target(&target)
	}
	if r.choices.Image == "" {
		r.choices.Image = imageID
	}
	return recreate.Plan(src, &target, r.choices)
}

func (r row) check(t *testing.T) {
	t.Helper()
	call, err := planned(t, r)
	if r.refused != "" {
		if _, ok := errors.AsType[*recreate.RefusedError](err); !ok || !strings.Contains(err.Error(), r.refused) {
			t.Errorf("the error is %v, want %q in it", err, r.refused)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	body := value(t, string(call.Body))
	for pointer, want := range r.body {
		got, there := lookUp(body, pointer)
		if want == "" {
			if there {
				t.Errorf("the body has %s: %v", pointer, got)
			}
			continue
		}
		if !there || !reflect.DeepEqual(got, value(t, want)) {
			t.Errorf("the body's %s is %v (there: %v), want %s", pointer, got, there, want)
		}
	}
	var differ, need, connect []string
	for _, d := range call.Differences {
		if differ = append(differ, d.Member); d.Reason == "" {
			t.Errorf("%s differs without a reason", d.Member)
		}
	}
	for _, n := range call.Needs {
		need = append(need, fmt.Sprintf("%s %s", n.Kind, n.Name))
	}
	for _, c := range call.Connect {
		connect = append(connect, c.Network)
	}
	r.differ = append([]string{"/Config/Image"}, r.differ...)
	slices.Sort(r.differ)
	for what, lists := range map[string][2][]string{
		"differences": {differ, r.differ}, "needs": {need, r.need}, "networks to connect": {connect, r.connect},
		"networks to disconnect": {call.Disconnect, r.disconnect},
	} {
		if !slices.Equal(lists[0], lists[1]) {
			t.Errorf("the %s are %q, want %q", what, lists[0], lists[1])
		}
	}
	if len(call.Warnings) != len(r.warn) {
		t.Errorf("the warnings are %q, want %q", call.Warnings, r.warn)
	}
	for i := range min(len(call.Warnings), len(r.warn)) {
		if !strings.Contains(call.Warnings[i], r.warn[i]) {
			t.Errorf("warning %d is %q, want %q in it", i, call.Warnings[i], r.warn[i])
		}
	}
}

// lookUp follows a path of names and indices, joined by slashes.
func lookUp(v any, path string) (any, bool) {
	for name := range strings.SplitSeq(path, "/") {
		switch parent := v.(type) {
		case map[string]any:
			child, ok := parent[strings.ReplaceAll(name, "~1", "/")]
			if !ok {
				return nil, false
			}
			v = child
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(parent) {
				return nil, false
			}
			v = parent[i]
		default:
			return nil, false
		}
	}
	return v, true
}

func TestPlan(t *testing.T) {
	for name, r := range rows() {
		t.Run(name, r.check)
	}
}

// Numbers come back as they are written, however long.
func TestPlanKeepsNumbers(t *testing.T) {
	call, err := planned(t, row{document: `{"HostConfig": {"CpuQuota": 100000}}`})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(call.Body), `"CpuQuota":100000`) {
		t.Errorf("the body is %s", call.Body)
	}
	src := recreate.Source{Document: []byte(`{"Id":"x","Config":{"A":12345678901234567890},"HostConfig":{"B":1.50}}`)}
	target := debian()
	if call, err = recreate.Plan(src, &target, recreate.Choices{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"A":12345678901234567890`, `"B":1.50`} {
		if !strings.Contains(string(call.Body), want) {
			t.Errorf("the body %s lacks %s", call.Body, want)
		}
	}
}

func TestPlanOfWhatIsNoDocument(t *testing.T) {
	target := debian()
	for text, want := range map[string]string{
		"": "cannot be read", "null": "it is null", "[]": "cannot be read", `{"Id":"x","Config":{},"HostConfig":{}} {}`: "more after",
		`{}`: "lacks the Id", `{"Id":"x","HostConfig":{}}`: "lacks the Config", `{"Id":"x","Config":{}}`: "lacks the HostConfig",
	} {
		if _, err := recreate.Plan(recreate.Source{Document: []byte(text)}, &target, recreate.Choices{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error is %v, want %q in it", text, err, want)
		}
	}
}

// All that keeps a container from being made is said at once.
func TestPlanSaysAllThatIsInTheWay(t *testing.T) {
	_, err := planned(t, row{document: `{"HostConfig": {"Runtime": "nvidia", "LogConfig": {"Type": "splunk", "Config": {}}}}`})
	if err == nil || !strings.Contains(err.Error(), "nvidia") || !strings.Contains(err.Error(), "splunk") {
		t.Errorf("the error is %v", err)
	}
}

func FuzzPlan(f *testing.F) {
	f.Add([]byte(plainDocument), true)
	f.Fuzz(func(t *testing.T, raw []byte, newer bool) {
		target := debian()
		if newer {
			target = current()
		}
		call, err := recreate.Plan(recreate.Source{Document: raw}, &target, recreate.Choices{Image: imageID})
		if err != nil {
			return
		}
		if !json.Valid(call.Body) {
			t.Errorf("the body is %s", call.Body)
		}
		if _, err := recreate.Compare(raw, raw, recreate.Choices{}); err != nil {
			t.Errorf("a document that can be planned cannot be compared: %v", err)
		}
	})
}

func toCurrent(p *engine.Platform) { *p = current() }

func fromCurrent(c *recreate.Context) { c.Engine = current() }

// rows are what brought containers back wrong in other tools, and what this one does.
func rows() map[string]row {
	all := map[string]row{}
	for _, some := range []map[string]row{identityRows(), networkRows(), mountRows(), defaultRows(), versionRows()} {
		for name, r := range some {
			if _, twice := all[name]; twice {
				panic("two rows are called " + name)
			}
			all[name] = r
		}
	}
	return all
}

func identityRows() map[string]row {
	return map[string]row{
		"plain": {body: map[string]string{
			"Image": `"` + imageID + `"`, "Hostname": "", "Cmd": `["/web"]`, "Env": `["A=b"]`, "Labels": `{"x": "y"}`,
			"HostConfig/RestartPolicy": `{"Name": "always", "MaximumRetryCount": 0}`, "HostConfig/NetworkMode": `"default"`,
			"NetworkingConfig/EndpointsConfig": `{"bridge": {}}`,
		}},
		"unknown members survive": {
			document: `{"Config": {"FromTheFuture": {"a": 12345678901234567890}}, "HostConfig": {"Also": [1.50]}}`,
			body:     map[string]string{"FromTheFuture": `{"a": 12345678901234567890}`, "HostConfig/Also": `[1.50]`},
		},
		"host name that was chosen": {
			document: `{"Config": {"Hostname": "shop"}}`, body: map[string]string{"Hostname": `"shop"`},
		},
		"host name of the host": {
			document: `{"Config": {"Hostname": "web01"}, "HostConfig": {"NetworkMode": "host"}, "NetworkSettings": {"Networks": {"host": {}}}}`,
			body:     map[string]string{"Hostname": "", "NetworkingConfig": ""},
		},
		"host name in the host's network that was chosen": {
			document: `{"Config": {"Hostname": "shop"}, "HostConfig": {"NetworkMode": "host"}}`,
			body:     map[string]string{"Hostname": `"shop"`},
		},
		"host name in the host's UTS namespace": {
			document: `{"Config": {"Hostname": "shop"}, "HostConfig": {"UTSMode": "host"}}`, body: map[string]string{"Hostname": ""},
		},
		"network of another container": {
			document: `{"Config": {"Hostname": "gate", "Domainname": "lan", "ExposedPorts": {"80/tcp": {}}, "MacAddress": "02:42:ac:11:00:09"},
				"HostConfig": {"NetworkMode": "container:` + otherID + `", "PortBindings": {}, "PublishAllPorts": false, "Dns": [], "ExtraHosts": null, "Links": null},
				"NetworkSettings": {"Networks": {}}}`,
			body: map[string]string{
				"HostConfig/NetworkMode": `"container:gate"`, "Hostname": "", "Domainname": "", "ExposedPorts": "", "MacAddress": "",
				"HostConfig/PortBindings": "", "HostConfig/PublishAllPorts": "", "HostConfig/Dns": "", "HostConfig/ExtraHosts": "", "HostConfig/Links": "",
				"NetworkingConfig": "",
			},
			need: []string{"container gate"},
		},
		"namespaces of another container, which is called otherwise now": {
			document: `{"HostConfig": {"IpcMode": "container:` + otherID + `", "PidMode": "container:` + otherID + `"}}`,
			choices:  recreate.Choices{Containers: map[string]string{"gate": "gate.holdfast"}},
			body:     map[string]string{"HostConfig/IpcMode": `"container:gate.holdfast"`, "HostConfig/PidMode": `"container:gate.holdfast"`},
			need:     []string{"container gate.holdfast"},
		},
		"another container whose name nobody knows": {
			none:     true,
			document: `{"HostConfig": {"PidMode": "container:` + otherID + `"}}`,
			body:     map[string]string{"HostConfig/PidMode": `"container:` + otherID + `"`},
			need:     []string{"container " + otherID},
			warn:     []string{"says nothing about the Engine", "does not say what container " + otherID},
		},
		"volumes from another container": {
			document: `{"HostConfig": {"VolumesFrom": ["` + otherID[:12] + `:ro", "data"]}}`,
			body:     map[string]string{"HostConfig/VolumesFrom": `["gate:ro", "data"]`},
			need:     []string{"container gate", "container data"},
		},
		"links": {
			document: `{"HostConfig": {"Links": ["/gate:/web/door", "/db:/web/db"]}}`,
			body:     map[string]string{"HostConfig/Links": `["gate:door", "db:db"]`},
			need:     []string{"container gate", "container db"},
		},
		"health check that was switched off": {
			document: `{"Config": {"Healthcheck": {"Test": ["NONE"]}}}`, body: map[string]string{"Healthcheck": `{"Test": ["NONE"]}`},
		},
		"ports": {
			document: `{"HostConfig": {"PortBindings": {"80/tcp": [{"HostIp": "", "HostPort": ""}], "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}], "82/udp": [{"HostIp": "", "HostPort": "0"}]}},
				"NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "32768"}]}}}`,
			body: map[string]string{"HostConfig/PortBindings": `{"80/tcp": [{"HostIp": "", "HostPort": ""}], "81/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8081"}], "82/udp": [{"HostIp": "", "HostPort": "0"}]}`},
		},
		"removes itself": {
			document: `{"HostConfig": {"AutoRemove": true}}`, body: map[string]string{"HostConfig/AutoRemove": `true`},
		},
	}
}

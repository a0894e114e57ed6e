package docker_test

import (
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/docker/docker/api/types/blkiodev"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
)

// containerSpec is a container that a test makes.
type containerSpec struct {
	config    *container.Config
	host      *container.HostConfig
	endpoints map[string]*network.EndpointSettings
	starts    bool
}

func ptr[T any](v T) *T { return &v }

// specs are containers that have every member together. They are made in the order of
// their names.
func (w *recreateWorld) specs() map[string]containerSpec {
	gate := container.NetworkMode("container:" + w.call("a-gate"))
	specs := map[string]containerSpec{
		"a-gate": {starts: true, config: &container.Config{Hostname: "gate"},
			host: &container.HostConfig{IpcMode: "shareable", NetworkMode: "bridge", Binds: []string{w.call("files") + ":/shared"}}},
		"all":       w.everything(),
		"resources": w.resources(),
		"cpu": {config: &container.Config{}, host: &container.HostConfig{Resources: container.Resources{
			NanoCPUs: 500_000_000, CpusetCpus: "0", CpusetMems: "0", Memory: 64 << 20, MemorySwap: -1}}},
		"linked": {starts: true, config: &container.Config{},
			host: &container.HostConfig{Links: []string{w.call("a-gate") + ":door"}, VolumesFrom: []string{w.call("a-gate") + ":ro"}}},
		"sharing": {starts: true, config: &container.Config{},
			host: &container.HostConfig{NetworkMode: gate, IpcMode: container.IpcMode(gate), PidMode: container.PidMode(gate)}},
		"on-host": {starts: true, config: &container.Config{},
			host: &container.HostConfig{NetworkMode: "host", PidMode: "host", UTSMode: "host", UsernsMode: "host"}},
		"privileged": {config: &container.Config{Healthcheck: &container.HealthConfig{Test: []string{"NONE"}}},
			host: &container.HostConfig{Privileged: true, NetworkMode: "none", PublishAllPorts: true,
				MaskedPaths: []string{}, ReadonlyPaths: []string{}}},
		"unmasked": {config: &container.Config{NetworkDisabled: true},
			host: &container.HostConfig{MaskedPaths: []string{}, ReadonlyPaths: []string{}, AutoRemove: true}},
		"plain": {starts: true, config: &container.Config{}, host: &container.HostConfig{}},
	}
	return specs
}

// everything is a container with all members that one running container can have.
func (w *recreateWorld) everything() containerSpec {
	front, back := w.call("front"), w.call("back")
	config := &container.Config{
		Hostname: "shop", Domainname: "example.test", User: "0:0", AttachStdin: true, AttachStdout: true, AttachStderr: true,
		ExposedPorts: nat.PortSet{"8080/tcp": {}, "9090/udp": {}}, Tty: true, OpenStdin: true, StdinOnce: true,
		Env: []string{"A=b", "SECRET=x y"}, Cmd: []string{}, Entrypoint: []string{"/idle"},
		Healthcheck: &container.HealthConfig{Test: []string{"CMD", "/idle", "say", "", "", "0"}, Interval: time.Hour, Timeout: time.Second,
			StartPeriod: time.Second, Retries: 7},
		Volumes: map[string]struct{}{"/anonymous": {}}, WorkingDir: "/work", OnBuild: []string{"RUN true"},
		Labels: map[string]string{"com.docker.compose.project": "shop", "a": ""}, StopSignal: "SIGKILL", StopTimeout: ptr(3), Shell: []string{"/idle"},
	}
	host := &container.HostConfig{
		Binds:           []string{"/etc:/host-etc:ro", w.call("files") + ":/files:nocopy"},
		ContainerIDFile: "/run/id", LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m"}},
		NetworkMode: container.NetworkMode(front),
		PortBindings: nat.PortMap{"8080/tcp": {{HostIP: "127.0.0.1", HostPort: fmt.Sprint(20000 + w.number()%10000)}},
			"9090/udp": {{HostPort: ""}}, "7070/tcp": {{HostPort: "0"}}},
		RestartPolicy: container.RestartPolicy{Name: "on-failure", MaximumRetryCount: 3}, VolumeDriver: "local", ConsoleSize: [2]uint{24, 80},
		CapAdd: []string{"CAP_NET_ADMIN"}, CapDrop: []string{"CAP_MKNOD"}, CgroupnsMode: "private",
		DNS: []string{"10.0.0.53"}, DNSOptions: []string{"ndots:2"}, DNSSearch: []string{"example.test"}, ExtraHosts: []string{"db:10.0.0.7"},
		GroupAdd: []string{"4"}, IpcMode: "shareable", OomScoreAdj: 100, ReadonlyRootfs: true, SecurityOpt: []string{"no-new-privileges"},
		Tmpfs: map[string]string{"/run": "size=1m"}, ShmSize: 1 << 20, Sysctls: map[string]string{"net.core.somaxconn": "99"},
		Runtime: "io.containerd.runc.v2", Isolation: "default", MaskedPaths: []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/bus"}, Init: ptr(false),
		Mounts: []mount.Mount{
			{Type: mount.TypeVolume, Source: w.call("scratch"), Target: "/scratch", VolumeOptions: &mount.VolumeOptions{NoCopy: true, Labels: map[string]string{"x": "y"}}},
			{Type: mount.TypeVolume, Target: "/unnamed"},
			{Type: mount.TypeBind, Source: "/usr", Target: "/host-usr", ReadOnly: true, BindOptions: &mount.BindOptions{Propagation: "private", NonRecursive: true}},
			{Type: mount.TypeTmpfs, Target: "/memory", TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 1 << 20, Mode: 0o700}},
		},
	}
	host.Memory, host.MemoryReservation, host.CPUShares, host.CPUPeriod, host.CPUQuota = 64<<20, 32<<20, 512, 50000, 25000
	host.PidsLimit, host.Ulimits = ptr(int64(100)), []*container.Ulimit{{Name: "nofile", Soft: 64, Hard: 128}}
	endpoints := map[string]*network.EndpointSettings{
		front: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: w.subnet() + ".200", IPv6Address: w.subnet6() + "::200", LinkLocalIPs: []string{"169.254.34.68"}},
			Aliases: []string{"api", "web"}, DriverOpts: map[string]string{"com.example": "1"}, Links: []string{w.call("a-gate") + ":door"}},
		back: {Aliases: []string{"worker"}},
	}
	if w.source.Speaks("1.44") {
		host.Annotations = map[string]string{"a": "b"}
		config.Healthcheck.StartInterval = time.Second
		endpoints[front].MacAddress = "0a:00:00:00:00:01"
	} else {
		config.MacAddress = "0a:00:00:00:00:01" //nolint:staticcheck // the only place that an older Engine has for it
	}
	if w.source.Speaks("1.48") {
		endpoints[front].GwPriority = 5
	}
	return containerSpec{config: config, host: host, endpoints: endpoints, starts: true}
}

// resources is a container with limits that not every machine can set; it is not
// started.
func (w *recreateWorld) resources() containerSpec {
	null := "/dev/null"
	rate := []*blkiodev.ThrottleDevice{{Path: null, Rate: 1 << 20}}
	return containerSpec{config: &container.Config{}, host: &container.HostConfig{
		RestartPolicy: container.RestartPolicy{Name: "unless-stopped"},
		Resources: container.Resources{
			CgroupParent: "/hft-recreate", BlkioWeight: 300, BlkioWeightDevice: []*blkiodev.WeightDevice{{Path: null, Weight: 200}},
			BlkioDeviceReadBps: rate, BlkioDeviceWriteBps: rate, BlkioDeviceReadIOps: rate, BlkioDeviceWriteIOps: rate,
			Devices:           []container.DeviceMapping{{PathOnHost: null, PathInContainer: "/dev/nothing", CgroupPermissions: "rm"}},
			DeviceCgroupRules: []string{"c 1:3 rwm"},
			DeviceRequests:    []container.DeviceRequest{{Driver: "none", Count: -1, Capabilities: [][]string{{"gpu"}}, Options: map[string]string{"a": "b"}}},
			Memory:            64 << 20, MemorySwap: 96 << 20, MemorySwappiness: ptr(int64(10)), OomKillDisable: ptr(true),
		},
	}}
}

// notSet are members that no container of the test has.
var notSet = map[string]string{
	"Config.ArgsEscaped":                   "Windows only",
	"Config.Image":                         "the point's image takes its place",
	"Config.MacAddress":                    "of API versions before 1.44, and tested there",
	"HostConfig.Annotations":               "from API 1.43 on, and tested there",
	"HostConfig.Cgroup":                    "no Engine does anything with it",
	"HostConfig.StorageOpt":                "takes a storage driver that can limit sizes",
	"HostConfig.CPUCount":                  "Windows only",
	"HostConfig.CPUPercent":                "Windows only",
	"HostConfig.IOMaximumIOps":             "Windows only",
	"HostConfig.IOMaximumBandwidth":        "Windows only",
	"HostConfig.CPURealtimePeriod":         "takes a kernel with real-time groups",
	"HostConfig.CPURealtimeRuntime":        "takes a kernel with real-time groups",
	"HostConfig.KernelMemory":              "takes a kernel before 5.4",
	"HostConfig.KernelMemoryTCP":           "takes a kernel before 6.12 with cgroup version 1",
	"EndpointSettings.MacAddress":          "from API 1.44 on, and tested there",
	"EndpointSettings.GwPriority":          "from API 1.48 on, and tested there",
	"EndpointSettings.NetworkID":           "comes of being connected",
	"EndpointSettings.EndpointID":          "comes of being connected",
	"EndpointSettings.Gateway":             "comes of being connected",
	"EndpointSettings.IPAddress":           "comes of being connected",
	"EndpointSettings.IPPrefixLen":         "comes of being connected",
	"EndpointSettings.IPv6Gateway":         "comes of being connected",
	"EndpointSettings.GlobalIPv6Address":   "comes of being connected",
	"EndpointSettings.GlobalIPv6PrefixLen": "comes of being connected",
	"EndpointSettings.DNSNames":            "comes of being connected",
}

// Every member that the Engine's create call has is set in a container of the test, or
// is not for a reason.
func TestRecreateHasEveryMember(t *testing.T) {
	w := &recreateWorld{prefix: "x"}
	set := map[string]bool{}
	for _, s := range w.specs() {
		values := []any{*s.config, *s.host, s.host.Resources}
		for _, e := range s.endpoints {
			values = append(values, *e)
		}
		for _, v := range values {
			value := reflect.ValueOf(v)
			for _, f := range reflect.VisibleFields(value.Type()) {
				if f.Name != "Resources" && !value.FieldByIndex(f.Index).IsZero() {
					set[f.Name] = true
				}
			}
		}
	}
	for typeName, typ := range map[string]reflect.Type{
		"Config": reflect.TypeFor[container.Config](), "HostConfig": reflect.TypeFor[container.HostConfig](),
		"EndpointSettings": reflect.TypeFor[network.EndpointSettings](),
	} {
		for _, f := range reflect.VisibleFields(typ) {
			_, excused := notSet[typeName+"."+f.Name]
			if f.Name != "Resources" && !set[f.Name] && !excused {
				t.Errorf("no container of the test has %s.%s", typeName, f.Name)
			}
		}
	}
	var all []string
	for _, typ := range []reflect.Type{reflect.TypeFor[container.Config](), reflect.TypeFor[container.HostConfig](), reflect.TypeFor[network.EndpointSettings]()} {
		for _, f := range reflect.VisibleFields(typ) {
			all = append(all, typ.Name()+"."+f.Name)
		}
	}
	for name := range notSet {
		if !slices.Contains(all, name) {
			t.Errorf("%s is excused and is no member", name)
		}
	}
}

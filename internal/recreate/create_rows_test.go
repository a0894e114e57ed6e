package recreate_test

import (
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/recreate"
)

// backend is a container's own network, beside the default one.
const backend = `"back": {"IPAMConfig": {"IPv4Address": "172.28.0.9"}, "Aliases": ["api", "3f2a9c1b7d10"], "NetworkID": "` + netID + `", "EndpointID": "e2",
	"IPAddress": "172.28.0.9", "IPPrefixLen": 16, "Gateway": "172.28.0.1", "MacAddress": "02:42:ac:1c:00:09", "DriverOpts": {"a": "b"}, "FromTheFuture": 1}`

func networkRows() map[string]row {
	return map[string]row{
		"several networks, one call": {
			document: `{"HostConfig": {"NetworkMode": "back"}, "NetworkSettings": {"Networks": {` + backend + `}}}`,
			target:   toCurrent,
			body: map[string]string{
				"HostConfig/NetworkMode":                  `"back"`,
				"NetworkingConfig/EndpointsConfig/back":   `{"IPAMConfig": {"IPv4Address": "172.28.0.9"}, "Aliases": ["api"], "DriverOpts": {"a": "b"}, "FromTheFuture": 1}`,
				"NetworkingConfig/EndpointsConfig/bridge": `{}`,
			},
			need:   []string{"network back"},
			differ: []string{"/HostConfig/CgroupnsMode"},
		},
		"several networks, one after the other": {
			document: `{"HostConfig": {"NetworkMode": "back"}, "NetworkSettings": {"Networks": {` + backend + `}}}`,
			body: map[string]string{
				"NetworkingConfig/EndpointsConfig/back":   `{"IPAMConfig": {"IPv4Address": "172.28.0.9"}, "Aliases": ["api"], "DriverOpts": {"a": "b"}, "FromTheFuture": 1}`,
				"NetworkingConfig/EndpointsConfig/bridge": "",
			},
			need: []string{"network back"}, connect: []string{"bridge"},
		},
		"network called by its id": {
			document: `{"HostConfig": {"NetworkMode": "` + netID[:20] + `"}, "NetworkSettings": {"Networks": {"bridge": null, ` + backend + `}}}`,
			body:     map[string]string{"HostConfig/NetworkMode": `"back"`},
			need:     []string{"network back"}, connect: []string{"bridge"}, differ: []string{"/HostConfig/NetworkMode"},
		},
		"address that the Engine gave": {
			document: `{"NetworkSettings": {"Networks": {"bridge": {"IPAMConfig": {}, "IPAddress": "172.17.0.2"}}}}`,
			body:     map[string]string{"NetworkingConfig/EndpointsConfig/bridge": `{}`},
		},
		"aliases that old Engines add": {
			document: `{"Config": {"Hostname": "shop"}, "NetworkSettings": {"Networks": {"bridge": {"Aliases": ["x"]}, "lan": {"Aliases": ["shop", "3f2a9c1b7d10", "api"]}}}}`,
			target:   toCurrent,
			body: map[string]string{
				"NetworkingConfig/EndpointsConfig/lan": `{"Aliases": ["api"]}`, "NetworkingConfig/EndpointsConfig/bridge": `{}`,
			},
			need: []string{"network lan"}, differ: []string{"/HostConfig/CgroupnsMode"},
		},
		"links in a network": {
			document: `{"NetworkSettings": {"Networks": {"lan": {"Links": ["` + otherID[:12] + `:door"]}}}}`,
			body:     map[string]string{"NetworkingConfig/EndpointsConfig/bridge": `{}`},
			need:     []string{"container gate", "network lan"}, connect: []string{"lan"},
		},
		"MAC address of the container": {
			document: `{"Config": {"MacAddress": "0a:00:00:00:00:01"}}`,
			body:     map[string]string{"MacAddress": `"0a:00:00:00:00:01"`},
		},
		"MAC address of the container, to an endpoint": {
			document: `{"Config": {"MacAddress": "0a:00:00:00:00:01"}}`,
			target:   toCurrent,
			body:     map[string]string{"MacAddress": "", "NetworkingConfig/EndpointsConfig/bridge/MacAddress": `"0a:00:00:00:00:01"`},
			differ:   []string{"/HostConfig/CgroupnsMode"},
		},
		"MAC address made from the IP address": {
			document: `{"NetworkSettings": {"Networks": {"bridge": {"MacAddress": "02:42:ac:11:00:02", "IPAddress": "172.17.0.2"}}}}`,
			context:  func(c *recreate.Context) { c.Engine.APIVersion = "1.44" },
			target:   toCurrent,
			body:     map[string]string{"NetworkingConfig/EndpointsConfig/bridge/MacAddress": ""},
			differ:   []string{"/HostConfig/CgroupnsMode"},
		},
		"MAC address that an endpoint asked for": {
			document: `{"NetworkSettings": {"Networks": {"lan": {"EndpointID": "e", "MacAddress": "0a:00:00:00:00:02", "IPAddress": "10.1.0.2"}}}}`,
			context:  func(c *recreate.Context) { c.Engine.APIVersion = "1.44" },
			target:   toCurrent,
			body:     map[string]string{"NetworkingConfig/EndpointsConfig/lan/MacAddress": `"0a:00:00:00:00:02"`},
			need:     []string{"network lan"}, differ: []string{"/HostConfig/CgroupnsMode"},
		},
		"MAC address that an endpoint asked for, and an older Engine": {
			document: `{"NetworkSettings": {"Networks": {"lan": {"EndpointID": "", "MacAddress": "0a:00:00:00:00:02"}}}}`,
			context:  fromCurrent,
			need:     []string{"network lan"}, connect: []string{"lan"},
			differ: []string{"/NetworkSettings/Networks/lan/MacAddress"},
		},
		"MAC address made at random": {
			document: `{"NetworkSettings": {"Networks": {"bridge": {"MacAddress": "7e:00:00:00:00:01"}, "lan": {"EndpointID": "e", "MacAddress": "7e:00:00:00:00:02", "IPAddress": "10.1.0.2"}}}}`,
			context:  fromCurrent, target: toCurrent,
			body: map[string]string{
				"NetworkingConfig/EndpointsConfig/lan/MacAddress": "", "NetworkingConfig/EndpointsConfig/bridge/MacAddress": "",
			},
			need: []string{"network lan"}, differ: []string{"/NetworkSettings/Networks/lan/MacAddress"},
		},
		"MAC address of a container that never ran": {
			document: `{"NetworkSettings": {"Networks": {"bridge": {"EndpointID": "", "MacAddress": "0a:00:00:00:00:03", "IPAddress": ""}}}}`,
			context:  fromCurrent, target: toCurrent,
			body: map[string]string{"NetworkingConfig/EndpointsConfig/bridge/MacAddress": `"0a:00:00:00:00:03"`},
		},
		"no network at all": {
			document: `{"NetworkSettings": {"Networks": null}}`, disconnect: []string{"bridge"}, body: map[string]string{"NetworkingConfig": ""},
		},
		"network mode none": {
			document: `{"HostConfig": {"NetworkMode": "none"}, "NetworkSettings": {"Networks": {"none": {}}}}`,
			body:     map[string]string{"NetworkingConfig": "", "HostConfig/NetworkMode": `"none"`},
		},
		"not in the network of its mode": {
			document: `{"HostConfig": {"NetworkMode": "gone"}, "NetworkSettings": {"Networks": {"bridge": {}, "lan": {}}}}`,
			body:     map[string]string{"NetworkingConfig/EndpointsConfig": `{"bridge": {}}`},
			need:     []string{"network lan"}, connect: []string{"lan"},
		},
		"a swarm's network": {
			document: `{"NetworkSettings": {"Networks": {"mesh": {}}}}`,
			context: func(c *recreate.Context) {
				c.Networks = []recreate.Network{{Network: engine.Network{ID: netID, Name: "mesh", Scope: "swarm"}}}
			},
			refused: "/NetworkSettings/Networks/mesh: it is a swarm's network",
		},
		"priority of a gateway": {
			document: `{"NetworkSettings": {"Networks": {"bridge": {"GwPriority": 5}}}}`,
			context:  fromCurrent, differ: []string{"/NetworkSettings/Networks/bridge/GwPriority"},
			body: map[string]string{"NetworkingConfig/EndpointsConfig/bridge": `{}`},
		},
		"setting of an interface": {
			document: `{"HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.route_localnet": "1", "net.core.somaxconn": "99"}}}`,
			target:   toCurrent,
			body: map[string]string{
				"HostConfig/Sysctls": `{"net.core.somaxconn": "99"}`,
				"NetworkingConfig/EndpointsConfig/bridge/DriverOpts": `{"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.route_localnet=1"}`,
			},
			differ: []string{"/HostConfig/CgroupnsMode", "/HostConfig/Sysctls/net.ipv4.conf.eth0.route_localnet"},
		},
		"setting of an interface that nobody knows": {
			document: `{"HostConfig": {"Sysctls": {"net.ipv4.conf.eth1.route_localnet": "1"}}}`,
			target:   toCurrent, refused: "eth1.route_localnet: this Engine takes settings of an interface",
		},
	}
}

func mountRows() map[string]row {
	anonymous := `"Mounts": [{"Type": "volume", "Name": "d4d4", "Destination": "/data", "RW": true, "Mode": ""}]`
	return map[string]row{
		"binds and mounts": {
			document: `{"HostConfig": {"Binds": ["/srv/www:/www:ro", "files:/files"], "Mounts": [
				{"Type": "volume", "Source": "db", "Target": "/db", "VolumeOptions": {"Labels": {"a": "b"}}},
				{"Type": "bind", "Source": "/etc/x", "Target": "/x", "ReadOnly": true, "BindOptions": {"Propagation": "rslave"}},
				{"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": 4096}}], "Tmpfs": {"/run": "size=1m"}},
				"Mounts": [{"Type": "volume", "Name": "files", "Destination": "/files"}, {"Type": "volume", "Name": "db", "Destination": "/db"}]}`,
			body: map[string]string{
				"HostConfig/Binds": `["/srv/www:/www:ro", "files:/files"]`,
				"HostConfig/Mounts": `[{"Type": "volume", "Source": "db", "Target": "/db", "VolumeOptions": {"Labels": {"a": "b"}}},
					{"Type": "bind", "Source": "/etc/x", "Target": "/x", "ReadOnly": true, "BindOptions": {"Propagation": "rslave"}},
					{"Type": "tmpfs", "Target": "/scratch", "TmpfsOptions": {"SizeBytes": 4096}}]`,
				"HostConfig/Tmpfs": `{"/run": "size=1m"}`,
			},
			need: []string{"path /srv/www", "volume files", "volume db", "path /etc/x"},
		},
		"volumes of other names": {
			document: `{"HostConfig": {"Binds": ["files:/files:ro,z"], "Mounts": [{"Type": "volume", "Source": "db", "Target": "/db"}]}}`,
			choices:  recreate.Choices{Volumes: map[string]string{"files": "files-1", "db": "db-1"}, NoCopy: []string{"files", "db"}},
			body: map[string]string{
				"HostConfig/Binds":  `["files-1:/files:ro,z,nocopy"]`,
				"HostConfig/Mounts": `[{"Type": "volume", "Source": "db-1", "Target": "/db", "VolumeOptions": {"NoCopy": true}}]`,
			},
			need: []string{"volume files-1", "volume db-1"}, differ: []string{"/HostConfig/Binds", "/HostConfig/Mounts/~1db/Source"},
		},
		"bind and mount at one place": {
			document: `{"HostConfig": {"Binds": ["/srv/www:/www"], "Mounts": [{"Type": "volume", "Source": "www", "Target": "/www/"}]}}`,
			body:     map[string]string{"HostConfig/Binds": `["/srv/www:/www"]`, "HostConfig/Mounts": ""},
			need:     []string{"path /srv/www"}, differ: []string{"/HostConfig/Mounts/~1www"},
		},
		"bind and tmpfs at one place": {
			document: `{"HostConfig": {"Binds": ["/srv/www:/www"], "Tmpfs": {"/www/": "", "/run": ""}}}`,
			body:     map[string]string{"HostConfig/Tmpfs": `{"/run": ""}`},
			need:     []string{"path /srv/www"}, differ: []string{"/HostConfig/Tmpfs/~1www~1"},
		},
		"anonymous volume": {
			document: `{"Config": {"Volumes": {"/data/": {}}}, ` + anonymous + `}`,
			body:     map[string]string{"HostConfig/Mounts": `[{"Type": "volume", "Source": "d4d4", "Target": "/data"}]`, "Volumes": `{"/data/": {}}`},
			need:     []string{"volume d4d4"}, differ: []string{"/HostConfig/Mounts/~1data"},
		},
		"anonymous volume of a mount": {
			document: `{"HostConfig": {"Mounts": [{"Type": "volume", "Source": "", "Target": "/data"}]}, ` + anonymous + `}`,
			choices:  recreate.Choices{NoCopy: []string{"d4d4"}},
			body:     map[string]string{"HostConfig/Mounts": `[{"Type": "volume", "Source": "d4d4", "Target": "/data", "VolumeOptions": {"NoCopy": true}}]`},
			need:     []string{"volume d4d4"}, differ: []string{"/HostConfig/Mounts/~1data/Source"},
		},
		"anonymous volume of a bind": {
			document: `{"HostConfig": {"Binds": ["/data"]}, ` + anonymous + `}`,
			body:     map[string]string{"HostConfig/Binds": `["d4d4:/data"]`, "HostConfig/Mounts": ""},
			need:     []string{"volume d4d4"}, differ: []string{"/HostConfig/Binds"},
		},
		"volume of another container": {
			document: `{"HostConfig": {"VolumesFrom": ["gate"]}, ` + anonymous + `}`,
			body:     map[string]string{"HostConfig/Mounts": ""},
			need:     []string{"container gate"},
		},
		"image as a mount": {
			document: `{"HostConfig": {"Mounts": [{"Type": "image", "Source": "shop/assets:v1", "Target": "/assets"}]}}`,
			context:  fromCurrent, target: toCurrent,
			need: []string{"image shop/assets:v1"},
		},
		"devices": {
			document: `{"HostConfig": {"Devices": [{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": ""}]}}`,
			body:     map[string]string{"HostConfig/Devices": `[{"PathOnHost": "/dev/fuse", "PathInContainer": "/dev/fuse", "CgroupPermissions": "rwm"}]`},
			need:     []string{"path /dev/fuse"},
		},
	}
}

func defaultRows() map[string]row {
	return map[string]row{
		"defaults of the Engine": {body: map[string]string{
			"HostConfig/ShmSize": "", "HostConfig/IpcMode": "", "HostConfig/CgroupnsMode": "", "HostConfig/Runtime": "", "HostConfig/LogConfig": "",
			"HostConfig/OomKillDisable": "", "HostConfig/PidsLimit": "", "HostConfig/MaskedPaths": "", "HostConfig/ReadonlyPaths": "",
		}},
		"defaults of another Engine": {
			target: func(p *engine.Platform) {
				toCurrent(p)
				p.DefaultRuntime, p.DefaultLogDriver = "runsc", "local"
			},
			body:   map[string]string{"HostConfig/Runtime": "", "HostConfig/LogConfig": "", "HostConfig/CgroupnsMode": ""},
			differ: []string{"/HostConfig/CgroupnsMode", "/HostConfig/LogConfig/Type", "/HostConfig/Runtime"},
		},
		"defaults that nobody knows": {
			none: true,
			body: map[string]string{"HostConfig/CgroupnsMode": `"host"`, "HostConfig/Runtime": `"runc"`, "HostConfig/LogConfig": `{"Type": "json-file", "Config": {}}`},
			warn: []string{"says nothing about the Engine"},
		},
		"what somebody chose": {
			document: `{"HostConfig": {"ShmSize": 1048576, "IpcMode": "shareable", "CgroupnsMode": "private", "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m"}},
				"OomKillDisable": true, "PidsLimit": 100, "MemorySwappiness": 0, "Init": false, "Ulimits": [{"Name": "nofile", "Soft": 1, "Hard": 2}]}}`,
			body: map[string]string{
				"HostConfig/ShmSize": `1048576`, "HostConfig/IpcMode": `"shareable"`, "HostConfig/CgroupnsMode": `"private"`,
				"HostConfig/LogConfig": `{"Type": "json-file", "Config": {"max-size": "1m"}}`, "HostConfig/OomKillDisable": `true`,
				"HostConfig/PidsLimit": `100`, "HostConfig/MemorySwappiness": `0`, "HostConfig/Init": `false`,
				"HostConfig/Ulimits": `[{"Name": "nofile", "Soft": 1, "Hard": 2}]`,
			},
		},
		"cgroups of a privileged container": {
			document: `{"HostConfig": {"Privileged": true, "CgroupnsMode": "host", "SecurityOpt": ["label=disable"], "MaskedPaths": null, "ReadonlyPaths": null}}`,
			context:  func(c *recreate.Context) { c.Engine.PrivateCgroups = true },
			body:     map[string]string{"HostConfig/CgroupnsMode": "", "HostConfig/SecurityOpt": `[]`, "HostConfig/MaskedPaths": ""},
		},
		"paths that are not masked": {
			document: `{"HostConfig": {"MaskedPaths": [], "ReadonlyPaths": []}}`,
			body:     map[string]string{"HostConfig/MaskedPaths": `[]`, "HostConfig/ReadonlyPaths": `[]`},
		},
		"paths that somebody chose": {
			document: `{"HostConfig": {"MaskedPaths": ["/proc/kcore"]}}`, body: map[string]string{"HostConfig/MaskedPaths": `["/proc/kcore"]`},
		},
		"labels of the other container": {
			document: `{"HostConfig": {"IpcMode": "container:` + otherID + `", "SecurityOpt": ["label=user:u", "label=role:r", "label=type:t", "label=level:s0", "no-new-privileges"]}}`,
			body:     map[string]string{"HostConfig/SecurityOpt": `["no-new-privileges"]`}, need: []string{"container gate"},
		},
		"labels that somebody chose": {
			document: `{"HostConfig": {"SecurityOpt": ["label=type:t"]}}`, body: map[string]string{"HostConfig/SecurityOpt": `["label=type:t"]`},
		},
		"swap that follows from memory": {
			document: `{"HostConfig": {"Memory": 67108864, "MemorySwap": 134217728}}`, body: map[string]string{"HostConfig/MemorySwap": "", "HostConfig/Memory": `67108864`},
		},
		"swap that somebody chose": {
			document: `{"HostConfig": {"Memory": 67108864, "MemorySwap": 67108864}}`, body: map[string]string{"HostConfig/MemorySwap": `67108864`},
		},
		"swap that the old host could not limit": {
			document: `{"HostConfig": {"Memory": 67108864, "MemorySwap": -1}}`,
			context:  func(c *recreate.Context) { c.Engine.SwapLimit = false },
			body:     map[string]string{"HostConfig/MemorySwap": ""}, differ: []string{"/HostConfig/MemorySwap"},
		},
		"swap without limit": {
			document: `{"HostConfig": {"Memory": 67108864, "MemorySwap": -1}}`, body: map[string]string{"HostConfig/MemorySwap": `-1`},
		},
		"Podman": {
			document: `{"Name": "web", "Config": {"StopTimeout": 0, "Env": ["A=b", "HOSTNAME=` + oldID[:12] + `"]}, "HostConfig": {"MemorySwappiness": 0, "Runtime": "oci",
				"LogConfig": {"Type": "json-file", "Config": null}, "PidMode": "private", "UTSMode": "private", "ShmSize": 65536000,
				"Ulimits": [{"Name": "RLIMIT_NOFILE", "Soft": 1, "Hard": 2}], "PidsLimit": 0, "Devices": [{"PathOnHost": "/dev/x", "PathInContainer": "/dev/x", "CgroupPermissions": ""}]}}`,
			context: func(c *recreate.Context) { c.Engine.Kind = "Podman Engine" },
			body: map[string]string{"HostConfig/MemorySwappiness": "", "HostConfig/PidsLimit": "", "HostConfig/Devices/0/CgroupPermissions": `"rwm"`,
				"HostConfig/Ulimits": `[{"Name": "nofile", "Soft": 1, "Hard": 2}]`, "HostConfig/Runtime": "", "HostConfig/LogConfig": "",
				"HostConfig/PidMode": "", "HostConfig/UTSMode": "", "HostConfig/ShmSize": "", "StopTimeout": "", "Env": `["A=b"]`},
			need: []string{"path /dev/x"},
		},
	}
}

func versionRows() map[string]row {
	return map[string]row{
		"an older Engine": {
			document: `{"Config": {"Healthcheck": {"Test": ["CMD", "x"], "StartInterval": 1000000000}}, "HostConfig": {"Annotations": {"a": "b"}, "Umask": 18,
				"Mounts": [{"Type": "bind", "Source": "/a", "Target": "/a", "BindOptions": {"CreateMountpoint": true, "ReadOnlyForceRecursive": true, "Propagation": "slave"}}]}}`,
			context: fromCurrent,
			body: map[string]string{
				"Healthcheck": `{"Test": ["CMD", "x"]}`, "HostConfig/Annotations": "", "HostConfig/Umask": "",
				"HostConfig/Mounts/0/BindOptions": `{"Propagation": "slave"}`,
			},
			need: []string{"path /a"},
			differ: []string{"/Config/Healthcheck/StartInterval", "/HostConfig/Annotations", "/HostConfig/Mounts/~1a/BindOptions/CreateMountpoint",
				"/HostConfig/Mounts/~1a/BindOptions/ReadOnlyForceRecursive", "/HostConfig/Umask"},
		},
		"a newer Engine": {
			document: `{"HostConfig": {"KernelMemory": 4194304, "KernelMemoryTCP": 0}}`, target: toCurrent,
			body:   map[string]string{"HostConfig/KernelMemory": ""},
			differ: []string{"/HostConfig/CgroupnsMode", "/HostConfig/KernelMemory"},
		},
		"part of a volume": {
			document: `{"HostConfig": {"Mounts": [{"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"Subpath": "a"}}]}}`,
			context:  fromCurrent, refused: "/HostConfig/Mounts/~1v/VolumeOptions/Subpath: this Engine does not know it (its API is 1.41, it needs 1.45)",
		},
		"image as a mount, and an older Engine": {
			document: `{"HostConfig": {"Mounts": [{"Type": "image", "Source": "i", "Target": "/i"}]}}`,
			context:  fromCurrent, refused: "/HostConfig/Mounts/~1i/Type: this Engine does not know it",
		},
		"runtime that is missing": {
			document: `{"HostConfig": {"Runtime": "nvidia"}}`, refused: "/HostConfig/Runtime: this Engine has no runtime nvidia (it has io.containerd.runc.v2, runc)",
		},
		"runtime that is a shim": {
			document: `{"HostConfig": {"Runtime": "io.containerd.kata.v2"}}`, warn: []string{"io.containerd.kata.v2"},
			body: map[string]string{"HostConfig/Runtime": `"io.containerd.kata.v2"`},
		},
		"log driver that is missing": {
			document: `{"HostConfig": {"LogConfig": {"Type": "splunk", "Config": {}}}}`, refused: "/HostConfig/LogConfig/Type: this Engine has no log driver splunk",
		},
		"slice of systemd": {
			document: `{"HostConfig": {"CgroupParent": "/docker/x"}}`,
			target:   func(p *engine.Platform) { p.CgroupDriver = "systemd" },
			body:     map[string]string{"HostConfig/CgroupParent": ""}, differ: []string{"/HostConfig/CgroupParent"},
		},
		"GPU": {
			document: `{"HostConfig": {"DeviceRequests": [{"Driver": "nvidia", "Count": -1}]}}`, warn: []string{"GPUs"},
		},
		"another architecture": {
			target: func(p *engine.Platform) { p.Architecture = "arm64" }, warn: []string{"architecture amd64"},
		},
		"another system": {
			document: `{"Platform": "windows"}`, refused: "/Platform: the container is one of windows",
		},
		"user namespaces": {
			target: func(p *engine.Platform) { p.UserNamespaceBase = "100000.100000" }, warn: []string{"is user 100000 on this Engine's host, and was root"},
		},
		"privileged in user namespaces": {
			document: `{"HostConfig": {"Privileged": true}}`,
			target:   func(p *engine.Platform) { p.UserNamespaceBase = "100000.100000" }, refused: "/HostConfig/Privileged",
		},
	}
}

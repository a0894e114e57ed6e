package recreate_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/recreate"
)

const newID = "66e5f6da01cd5a1d1ed42d636fd6131e51b347ad0f153b25d9918fef5e93efa8"

// patched is plainDocument with something over it.
func patched(t *testing.T, patch string) []byte {
	t.Helper()
	doc := value(t, plainDocument)
	if patch != "" {
		doc = merge(doc, value(t, patch))
	}
	raw, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// found are the members that differ, those without a reason with a mark before them.
func found(differences []recreate.Difference) []string {
	var all []string
	for _, d := range differences {
		if d.Reason == "" {
			d.Member = "! " + d.Member
		}
		all = append(all, d.Member)
	}
	return all
}

func TestCompare(t *testing.T) {
	cases := map[string]struct {
		was, now string // over plainDocument
		choices  recreate.Choices
		want     []string
	}{
		"the same": {},
		"made and run anew": {
			was: `{"Created": "a", "RestartCount": 3, "LogPath": "/a", "GraphDriver": {"Data": {"a": "b"}}}`,
			now: `{"Created": "b", "State": {"Status": "created"}, "HostnamePath": "/b", "Storage": {"RootFS": {}},
				"NetworkSettings": {"SandboxID": "x", "Ports": {"80/tcp": []}, "Networks": {"bridge": {"EndpointID": "e2", "IPAddress": "172.17.0.3",
					"MacAddress": "02:42:ac:11:00:03", "NetworkID": "n", "DNSNames": ["a"]}}}}`,
		},
		"another id": {
			now:  `{"Id": "` + newID + `", "Config": {"Hostname": "66e5f6da01cd"}, "Name": "/web-2", "Image": "sha256:2"}`,
			want: []string{"/Config/Hostname", "/Image", "/Name"},
		},
		"another host name": {
			now: `{"Config": {"Hostname": "other"}}`, want: []string{"! /Config/Hostname"},
		},
		"another command and environment": {
			now: `{"Config": {"Cmd": ["/sh"], "Env": ["A=c"]}}`, want: []string{"! /Config/Cmd", "! /Config/Env"},
		},
		"a host name that Podman put into the environment": {
			was:  `{"Config": {"Env": ["HOSTNAME=` + oldID[:12] + `", "A=b"]}, "HostConfig": {"PidsLimit": 0}}`,
			now:  `{"Id": "` + newID + `", "Config": {"Env": ["A=b", "HOSTNAME=66e5f6da01cd"]}, "HostConfig": {"PidsLimit": 2048}}`,
			want: []string{"/Config/Env", "/HostConfig/PidsLimit"},
		},
		"a label less": {now: `{"Config": {"Labels": {"x": ""}}}`, want: []string{"! /Config/Labels/x"}},
		"nothing and empty": {
			was: `{"Config": {"Domainname": null}, "HostConfig": {"Dns": null, "CapAdd": [], "Links": null}}`,
			now: `{"Config": {"Domainname": ""}, "HostConfig": {"Dns": [], "CapAdd": null, "BlkioWeight": 0}}`,
		},
		"nothing is not empty where it matters": {
			was: `{"HostConfig": {"MaskedPaths": [], "Init": false}}`, now: `{"HostConfig": {"MaskedPaths": null, "Init": null}}`,
			want: []string{"! /HostConfig/Init", "! /HostConfig/MaskedPaths"},
		},
		"paths of a newer Engine": {
			now: `{"HostConfig": {"MaskedPaths": ["/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
				"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"]}}`,
			want: []string{"/HostConfig/MaskedPaths"},
		},
		"aliases that old Engines add": {
			was:  `{"NetworkSettings": {"Networks": {"lan": {"Aliases": ["api", "3f2a9c1b7d10"]}}}}`,
			now:  `{"Id": "` + newID + `", "Config": {"Hostname": "66e5f6da01cd"}, "NetworkSettings": {"Networks": {"lan": {"Aliases": ["66e5f6da01cd", "api"]}}}}`,
			want: []string{"/Config/Hostname"},
		},
		"an alias less": {
			was: `{"NetworkSettings": {"Networks": {"lan": {"Aliases": ["api", "web"]}}}}`,
			now: `{"NetworkSettings": {"Networks": {"lan": {"Aliases": ["api"]}}}}`, want: []string{"! /NetworkSettings/Networks/lan/Aliases"},
		},
		"a static address less": {
			was:  `{"NetworkSettings": {"Networks": {"bridge": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}}}}`,
			want: []string{"! /NetworkSettings/Networks/bridge/IPAMConfig"},
		},
		"a network less": {
			was: `{"NetworkSettings": {"Networks": {"lan": {}}}}`, now: `{"NetworkSettings": {"Networks": {"wan": {"Aliases": ["x"]}}}}`,
			want: []string{"! /NetworkSettings/Networks/wan"},
		},
		"namespaces of a container that was made again": {
			was: `{"HostConfig": {"PidMode": "container:` + otherID + `"}}`, now: `{"HostConfig": {"PidMode": "container:` + newID + `"}}`,
			want: []string{"/HostConfig/PidMode"},
		},
		"namespaces of nobody any more": {
			was: `{"HostConfig": {"PidMode": "container:` + otherID + `"}}`, now: `{"HostConfig": {"PidMode": ""}}`, want: []string{"! /HostConfig/PidMode"},
		},
		"the default network": {
			now: `{"HostConfig": {"NetworkMode": "bridge"}}`, want: []string{"/HostConfig/NetworkMode"},
		},
		"another network": {now: `{"HostConfig": {"NetworkMode": "none"}}`, want: []string{"! /HostConfig/NetworkMode"}},
		"links": {
			was: `{"HostConfig": {"Links": ["/a:/web/a", "/b:/web/b"]}}`, now: `{"HostConfig": {"Links": ["/b:/web-2/b", "/a:/web-2/a"]}}`,
			want: []string{"/HostConfig/Links"},
		},
		"volumes of other names": {
			was: `{"HostConfig": {"Binds": ["files:/files:ro"], "Mounts": [{"Type": "volume", "Source": "db", "Target": "/db"}]},
				"Mounts": [{"Type": "volume", "Name": "files", "Source": "/a", "Destination": "/files"}, {"Type": "volume", "Name": "db", "Destination": "/db"}]}`,
			now: `{"HostConfig": {"Binds": ["files-1:/files:ro,nocopy"], "Mounts": [{"Type": "volume", "Source": "db-1", "Target": "/db", "VolumeOptions": {"NoCopy": true}}]},
				"Mounts": [{"Type": "volume", "Name": "db-1", "Destination": "/db"}, {"Type": "volume", "Name": "files-1", "Source": "/b", "Destination": "/files"}]}`,
			choices: recreate.Choices{Volumes: map[string]string{"files": "files-1", "db": "db-1"}},
			want: []string{"/HostConfig/Binds", "/HostConfig/Mounts/~1db/Source", "/HostConfig/Mounts/~1db/VolumeOptions",
				"/Mounts/~1db/Name", "/Mounts/~1files/Name"},
		},
		"volumes of names that nobody chose": {
			was:  `{"HostConfig": {"Binds": ["files:/files"]}, "Mounts": [{"Type": "volume", "Name": "files", "Destination": "/files"}]}`,
			now:  `{"HostConfig": {"Binds": ["other:/files"]}, "Mounts": [{"Type": "volume", "Name": "other", "Destination": "/files"}]}`,
			want: []string{"! /HostConfig/Binds", "! /Mounts/~1files/Name"},
		},
		"a mount that can be written": {
			was: `{"Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/a", "RW": false}]}`,
			now: `{"Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/a", "RW": true}]}`, want: []string{"! /Mounts/~1a/RW"},
		},
		"a bind of another path": {
			was: `{"Mounts": [{"Type": "bind", "Source": "/a", "Destination": "/a"}]}`, now: `{"Mounts": [{"Type": "bind", "Source": "/b", "Destination": "/a"}]}`,
			want: []string{"! /Mounts/~1a/Source"},
		},
		"what a newer Engine no longer knows": {
			was: `{"HostConfig": {"KernelMemory": 4194304, "Umask": 18}}`, want: []string{"/HostConfig/KernelMemory", "/HostConfig/Umask"},
		},
		"less memory": {was: `{"HostConfig": {"Memory": 2}}`, now: `{"HostConfig": {"Memory": 1}}`, want: []string{"! /HostConfig/Memory"}},
		"a member that nobody knows": {
			was: `{"HostConfig": {"FromTheFuture": 1}}`, want: []string{"! /HostConfig/FromTheFuture"},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			differences, err := recreate.Compare(patched(t, c.was), patched(t, c.now), c.choices)
			if err != nil {
				t.Fatal(err)
			}
			if got := found(differences); !slices.Equal(got, c.want) {
				t.Errorf("the differences are %q, want %q", got, c.want)
			}
			unexpected := slices.DeleteFunc(slices.Clone(c.want), func(m string) bool { return !strings.HasPrefix(m, "! ") })
			if got := found(recreate.Unexpected(differences)); !slices.Equal(got, unexpected) {
				t.Errorf("unexpected are %q, want %q", got, unexpected)
			}
		})
	}
}

// What may be a secret is not shown.
func TestDifferencesHideSecrets(t *testing.T) {
	was := `{"Config": {"Env": ["PASSWORD=hunter2"], "Labels": {"p": "hunter2"}, "Cmd": ["hunter2"], "Healthcheck": {"Test": ["hunter2"]}},
		"Args": ["hunter2"], "HostConfig": {"LogConfig": {"Config": {"splunk-token": "hunter2"}},
		"Mounts": [{"Type": "volume", "Source": "v", "Target": "/v", "VolumeOptions": {"DriverConfig": {"Options": {"o": "password=hunter2"}}}}]}}`
	for _, now := range []string{"", `{"HostConfig": {"Mounts": [{"Type": "volume", "Source": "v", "Target": "/v"}]}}`} {
		differences, err := recreate.Compare(patched(t, was), patched(t, now), recreate.Choices{})
		if err != nil {
			t.Fatal(err)
		}
		if len(differences) < 7 {
			t.Errorf("only %q differ", found(differences))
		}
		for _, d := range differences {
			if strings.Contains(d.Was+d.Now+d.Reason, "hunter2") {
				t.Errorf("%s shows the secret: %q", d.Member, d.Was)
			}
		}
	}
}

func TestCompareOfWhatIsNoDocument(t *testing.T) {
	good := patched(t, "")
	for _, pair := range [][2][]byte{{good, []byte("{")}, {[]byte(`{}`), good}} {
		if _, err := recreate.Compare(pair[0], pair[1], recreate.Choices{}); err == nil {
			t.Errorf("%.20q and %.20q are compared", pair[0], pair[1])
		}
	}
}

package lifeline

import (
	"strings"
	"testing"
)

func TestNetworkFrom(t *testing.T) {
	const id = "8f3b1c7de5a94c0f8e2d1b6a7c5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f"
	const other = "00b1c7de5a94c0f8e2d1b6a7c5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f0"
	cases := map[string]struct {
		mountinfo, want string
	}{
		"container, cgroup v1": {`
612 529 0:52 / / rw,relatime master:241 - overlay overlay rw,lowerdir=/var/lib/docker/overlay2/l/AAA:/var/lib/docker/overlay2/l/BBB,upperdir=/var/lib/docker/overlay2/abc/diff,workdir=/var/lib/docker/overlay2/abc/work
613 612 0:55 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw
619 617 0:29 /docker/` + id + ` /sys/fs/cgroup/systemd ro,nosuid,nodev,noexec,relatime master:11 - cgroup cgroup rw,xattr,name=systemd
630 614 0:54 / /dev/mqueue rw,nosuid,nodev,noexec,relatime - mqueue mqueue rw
631 612 254:1 /var/lib/docker/containers/` + id + `/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda1 rw
632 612 254:1 /var/lib/docker/containers/` + id + `/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw
633 612 254:1 /var/lib/docker/containers/` + id + `/hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
`, id},
		"container, cgroup v2, the Engine's folder on a disk of its own": {`
1033 951 0:64 / / rw,relatime master:400 - overlay overlay rw
1036 1033 0:68 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro
1037 1036 0:30 / /sys/fs/cgroup ro,nosuid,nodev,noexec,relatime - cgroup2 cgroup rw,nsdelegate
1041 1033 259:3 /docker/containers/` + id + `/hostname /etc/hostname rw,relatime - xfs /dev/nvme1n1p1 rw
`, id},
		"host, with the mounts of its containers": {`
25 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda1 rw
312 25 0:46 / /var/lib/docker/overlay2/abc/merged rw,relatime shared:170 - overlay overlay rw
330 25 0:47 / /var/lib/docker/containers/` + id + `/mounts/shm rw,nosuid,nodev,noexec,relatime shared:171 - tmpfs shm rw,size=65536k
`, ""},
		"container that another container's folder is mounted into": {`
612 529 0:52 / / rw,relatime - overlay overlay rw
620 612 254:1 /var/lib/docker/containers/` + other + `/hostname /mnt/etc/hostname ro,relatime - ext4 /dev/vda1 rw
632 612 254:1 /var/lib/docker/containers/` + id + `/hostname /etc/hostname rw,relatime - ext4 /dev/vda1 rw
`, id},
		"container of podman, which is no Docker Engine's": {`
701 650 0:60 / / rw,relatime - overlay overlay rw
712 701 0:25 /containers/storage/overlay-containers/` + id + `/userdata/hostname /etc/hostname rw,nosuid,nodev - tmpfs tmpfs rw
713 701 0:25 /containers/storage/overlay-containers/` + id + `/userdata/resolv.conf /etc/resolv.conf rw,nosuid,nodev - tmpfs tmpfs rw
`, ""},
		"container, where the folder of all containers is a mount of its own": {`
1041 1033 259:3 /` + id + `/hostname /etc/hostname rw,relatime - xfs /dev/nvme1n1p1 rw
`, id},
		"container that has only its resolv.conf from the Engine": {`
632 612 254:1 /home/u/hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
631 612 254:1 /home/u/.local/share/docker/containers/` + id + `/resolv.conf /etc/resolv.conf rw,relatime - ext4 /dev/vda1 rw
`, id},
		"host whose file lies in a folder with a long name": {`
631 612 254:1 /etc/` + id + `x/hosts /etc/hosts rw,relatime - ext4 /dev/vda1 rw
`, ""},
		"a line of another form": {"what is this\n\n", ""},
		"nothing":                {"", ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if got := networkFrom(strings.NewReader(c.mountinfo)); got != c.want {
				t.Errorf("networkFrom returns %q, want %q", got, c.want)
			}
		})
	}
}

func TestOwnFrom(t *testing.T) {
	const id = "8f3b1c7de5a94c0f8e2d1b6a7c5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f"
	const other = "00b1c7de5a94c0f8e2d1b6a7c5f4e3d2c1b0a9f8e7d6c5b4a3f2e1d0c9b8a7f0"
	for name, c := range map[string]struct{ cgroup, want string }{
		"version 1":                  {"9:name=systemd:/docker/" + id + "\n0::/docker/" + id + "\n", id},
		"version 1, with systemd":    {"4:memory:/system.slice/docker-" + id + ".scope\n", id},
		"version 2, the host's view": {"0::/system.slice/docker-" + id + ".scope\n", id},
		"version 2, its own view":    {"0::/\n", ""},
		"a group of its own below":   {"0::/docker/" + id + "/init\n", id},
		"one in another":             {"0::/docker/" + other + "/docker/" + id + "\n", id},
		"a parent of its own":        {"0::/my.slice/" + id + "\n", id},
		"a service of the host":      {"0::/system.slice/holdfast.service\n", ""},
		"a name that is longer":      {"0::/docker/" + id + "0\n", ""},
		"another form":               {"what is this\n\n", ""},
		"nothing":                    {"", ""},
	} {
		if got := ownFrom(strings.NewReader(c.cgroup)); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

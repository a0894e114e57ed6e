package lifeline

import (
	"bufio"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// self returns the id of the container that this process runs in, and of the one
// whose network it uses; empty if there is none, or if it cannot be told. proc is
// where the process' own folder of procfs is: /proc/self.
func self(proc string) (own, network string) {
	own = fromFile(filepath.Join(proc, "cgroup"), ownFrom)
	network = fromFile(filepath.Join(proc, "mountinfo"), networkFrom)
	return own, network
}

// fromFile reads a file of procfs. One that cannot be read says nothing: this is
// not Linux, and so not a container.
func fromFile(path string, read func(io.Reader) string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	return read(f)
}

// networkFile is where an Engine keeps what it mounts over files that belong to a
// container's network: in a folder named by the container. The folder of all
// containers may be a mount of its own.
var networkFile = regexp.MustCompile(`(?:^|/)([0-9a-f]{64})/(?:hostname|hosts|resolv\.conf)$`)

// networkFrom reads a mountinfo file, see proc(5). A container that uses the
// network of another one has the files of that one.
func networkFrom(mountinfo io.Reader) string {
	lines := bufio.NewScanner(mountinfo)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		root, at := fields[3], fields[4]
		// The host's own table holds mounts in such folders too, at other places.
		if at != "/etc/hostname" && at != "/etc/hosts" && at != "/etc/resolv.conf" {
			continue
		}
		if m := networkFile.FindStringSubmatch(root); m != nil {
			return m[1]
		}
	}
	return ""
}

// containerCgroup is how an Engine names a container's control group, with its
// driver cgroupfs (/docker/<id>) and with systemd (/system.slice/docker-<id>.scope).
var containerCgroup = regexp.MustCompile(`(?:^|[/-])([0-9a-f]{64})(?:\.scope)?(?:$|/)`)

// ownFrom reads a cgroup file, see cgroups(7). In a cgroup namespace of its own,
// the default with version 2, a process does not see its group's name. If there
// are several containers one in the other, it returns the innermost.
func ownFrom(cgroup io.Reader) string {
	lines := bufio.NewScanner(cgroup)
	for lines.Scan() {
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) < 3 {
			continue
		}
		if all := containerCgroup.FindAllStringSubmatch(parts[2], -1); len(all) > 0 {
			return all[len(all)-1][1]
		}
	}
	return ""
}

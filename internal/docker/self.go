package docker

import (
	"bufio"
	"io"
	"os"
	"regexp"
	"strings"
)

var containerDir = regexp.MustCompile(`/containers/([0-9a-f]{64})/`)

// Self returns the id of the container that this process runs in, or "" if it
// runs in none. An Engine mounts /etc/hostname, /etc/hosts and /etc/resolv.conf
// from the container's own folder.
func Self() string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil { // not Linux: not in a container
		return ""
	}
	defer f.Close()
	return selfFrom(f)
}

// selfFrom reads a mountinfo file, see proc(5).
func selfFrom(mountinfo io.Reader) string {
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
		if m := containerDir.FindStringSubmatch(root); m != nil {
			return m[1]
		}
	}
	return ""
}

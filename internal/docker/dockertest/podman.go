package dockertest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// podmanConfig has nothing shared with the machine's own Podman. Events go to a file, as
// there may be no journal; cgroups need no systemd; and limits are none that a container
// in a container may not set.
const podmanConfig = `
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
tmp_dir = %q
[network]
network_config_dir = %q
`

// podman is Podman's service with a configuration of its own.
func (e *Engine) podman() (*exec.Cmd, error) {
	config := filepath.Join(e.dir, "containers.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, podmanConfig, e.dir+"/data/tmp", e.dir+"/data/net"), 0o600); err != nil {
		return nil, err
	}
	cmd := e.room.command("podman", "--root", e.dir+"/data/root", "--runroot", e.dir+"/data/run", "--storage-driver", "overlay",
		"system", "service", "--time=0", e.Host())
	// What it loads it leaves in the folder for temporary files.
	cmd.Env = append(os.Environ(), "CONTAINERS_CONF="+config, "TMPDIR="+e.dir+"/data")
	return cmd, nil
}

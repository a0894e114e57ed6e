package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/mount"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/go-connections/nat"
	"github.com/klauspost/compress/zstd"
	"github.com/rogpeppe/go-internal/testscript"

	"holdfast.io/holdfast/internal/bus/bustest"
	"holdfast.io/holdfast/internal/state"
)

// withEngine runs the tests and then removes what they share on the Engine.
type withEngine struct{ m *testing.M }

func (w withEngine) Run() int {
	// The tests wait more than they work; a -parallel in the command line still counts.
	if err := flag.Set("test.parallel", strconv.Itoa(3*runtime.GOMAXPROCS(0))); err != nil {
		panic(err)
	}
	status := w.m.Run()
	if e, err := engineOnce(); err == nil {
		e.close()
	}
	return max(status, removeShared())
}

// TestMain has the test binary be the real program when a script calls it.
func TestMain(m *testing.M) {
	testscript.Main(withEngine{m}, map[string]func(){"holdfast": main})
}

// TestScripts runs the real program against the real Engine, with the embedded
// message server. The scripts read like a manual.
func TestScripts(t *testing.T) {
	testscript.Run(t, params(t, "testdata/script", nil))
}

// TestFleet runs the real program against real nats-server processes: each script has one
// of its own, where nothing is provisioned.
func TestFleet(t *testing.T) {
	scripts, err := filepath.Glob("testdata/fleet/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		server := bustest.Server(t)
		p := params(t, "", func(env *testscript.Env) {
			env.Setenv("HOLDFAST_NATS_URL", server.URL)
			env.Setenv("HOLDFAST_NATS_USER", server.User)
			env.Setenv("HOLDFAST_NATS_PASSWORD", server.Password)
		})
		p.Files = []string{script}
		testscript.Run(t, p)
	}
}

func params(t *testing.T, dir string, setup func(*testscript.Env)) testscript.Params {
	e := machineEngine(t)
	cmds := map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"container": cmdContainer,
		"put":       cmdPut,
		"fill":      cmdFill,
		"unpacked":  cmdUnpacked,
		"state":     cmdState,
		"archived":  cmdArchived,
		"clean":     cmdClean,
		"await":     cmdAwait,
		"deep":      cmdDeep,
		"layers":    cmdLayers,
		"bucket":    cmdBucket,
		"registry":  cmdRegistry,
		"allow":     cmdAllow,
		"unlock":    cmdUnlock,
		"sshd":      cmdSSHD,
	}
	maps.Copy(cmds, restoreCmds)
	return testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			// P begins the names of the script's own containers.
			script := filepath.Base(env.WorkDir)
			name := strings.ToLower(strings.TrimPrefix(script, "script-"))
			p := e.prefix + "-" + strings.ReplaceAll(name, "-", ".") // so that $P- begins the names of no other script
			env.Setenv("P", p)
			env.Setenv("IMAGE", e.image)
			env.Setenv("HOLDFAST_STATE_DIR", filepath.Join(env.WorkDir, "state"))
			env.Setenv("HOME", env.WorkDir)
			if host := os.Getenv("DOCKER_HOST"); host != "" {
				env.Setenv("DOCKER_HOST", host)
			}
			if setup != nil {
				setup(env)
			}
			// What all scripts lie in stays where not all of them are run.
			t.Cleanup(func() { _ = os.Remove(filepath.Dir(env.WorkDir)) })
			env.Defer(func() { // after the script's containers
				if err := e.removeRestored(p); err != nil {
					t.Errorf("remove what %s restored: %v", script, err)
				}
			})
			return nil
		},
		Cmds: cmds,
	}
}

// cleanups lets a script's containers end with the script.
type cleanups struct{ ts *testscript.TestScript }

func (c cleanups) Cleanup(f func()) { c.ts.Defer(f) }

// container NAME [created|running|paused|exited|restarting] [option...] makes a
// container. Options: label=K=V, volume=NAME:/path, bind=/path:/path, rm, env=K=V,
// image=REF, network=MODE[:ADDRESS], pid=MODE, shm=BYTES, port[=PORT]: the
// one of the host, or a free one that PORT is set to; unhealthy: its health check fails.
func cmdContainer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: container NAME [STATE] [option...]")
	}
	e, state := must(ts, engineOnce), "running"
	c, h, n := &container.Config{Labels: map[string]string{}}, &container.HostConfig{}, (*network.NetworkingConfig)(nil)
	for _, arg := range args[1:] {
		option, value, _ := strings.Cut(arg, "=")
		switch option {
		case "label":
			k, v, _ := strings.Cut(value, "=")
			c.Labels[k] = v
		case "env":
			c.Env = append(c.Env, value)
		case "volume":
			name, target, _ := strings.Cut(value, ":")
			h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeVolume, Source: name, Target: target})
			ts.Defer(func() { _ = e.api.VolumeRemove(context.Background(), name, true) })
		case "bind":
			source, target, _ := strings.Cut(value, ":")
			h.Mounts = append(h.Mounts, mount.Mount{Type: mount.TypeBind, Source: source, Target: target})
		case "tmpfs":
			h.Tmpfs = map[string]string{value: ""}
		case "shm":
			size, err := strconv.ParseInt(value, 10, 64)
			ts.Check(err)
			h.ShmSize = size
		case "network": // with :ADDRESS, that one
			mode, address, _ := strings.Cut(value, ":")
			if mode == "container" {
				mode, address = value, ""
			}
			h.NetworkMode = container.NetworkMode(mode)
			if address != "" {
				n = &network.NetworkingConfig{EndpointsConfig: map[string]*network.EndpointSettings{
					mode: {IPAMConfig: &network.EndpointIPAMConfig{IPv4Address: address}}}}
			}
		case "pid":
			h.PidMode = container.PidMode(value)
		case "image":
			c.Image = value
		case "rm":
			h.AutoRemove = true
		case "port":
			if value == "" {
				value = must(ts, findPort)
				ts.Setenv("PORT", value)
			}
			c.ExposedPorts = nat.PortSet{"80/tcp": {}}
			h.PortBindings = nat.PortMap{"80/tcp": {{HostIP: "127.0.0.1", HostPort: value}}}
		case "unhealthy":
			// Not more often: an Engine of version 20.10 hangs where a check begins while a commit
			// pauses the container, as it waits for the frozen process with its lock held.
			c.Healthcheck = &container.HealthConfig{Test: []string{"CMD", "/idle", "fail"}, Interval: time.Second,
				Timeout: time.Second, Retries: 2}
		default:
			state = arg
		}
	}
	c.Labels[scriptLabel] = ts.Getenv("P")
	if state == "restarting" {
		c.Cmd, h.RestartPolicy = []string{"/idle", "fail"}, container.RestartPolicy{Name: "always"}
	}
	ctx := context.Background()
	id, err := e.createIn(cleanups{ts}, args[0], c, h, n)
	ts.Check(err)
	if state != "created" {
		ts.Check(e.api.ContainerStart(ctx, id, container.StartOptions{}))
	}
	switch state {
	case "paused":
		ts.Check(e.api.ContainerPause(ctx, id))
	case "exited":
		ts.Check(e.api.ContainerStop(ctx, id, container.StopOptions{}))
	}
	ts.Setenv("ID", id)
}

// put NAME PATH TEXT writes a file into a container.
func cmdPut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: put NAME PATH TEXT")
	}
	ts.Check(must(ts, engineOnce).write(args[0], args[1], []byte(args[2])))
}

// fill NAME PATH MIB writes a file of random bytes into a container.
func cmdFill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: fill NAME PATH MIB")
	}
	mib, err := strconv.Atoi(args[2])
	ts.Check(err)
	content := make([]byte, mib<<20)
	_, _ = rand.NewChaCha8([32]byte{}).Read(content)
	ts.Check(must(ts, engineOnce).write(args[0], args[1], content))
}

// unpacked GLOB PATH TEXT checks a file in the one archive of a volume that the
// expression finds.
func cmdUnpacked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: unpacked GLOB PATH TEXT")
	}
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%s are %q", args[0], found)
	}
	got, err := unpack(found[0], args[1])
	ts.Check(err)
	if got != args[2] {
		ts.Fatalf("%s in %s holds %q, not %q", args[1], args[0], got, args[2])
	}
}

// unpack returns a file of the archive of a volume, without a last end of line.
func unpack(archive, name string) (string, error) {
	f, err := os.Open(archive)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return "", err
	}
	defer z.Close()
	for t := tar.NewReader(z); ; {
		h, err := t.Next()
		if err != nil {
			return "", fmt.Errorf("look for %s in %s: %w", name, archive, err)
		}
		if path.Clean(h.Name) == name {
			got, err := io.ReadAll(t)
			return strings.TrimSuffix(string(got), "\n"), err
		}
	}
}

// state NAME STATE [ID] checks a container's state, and that it is the one with this id.
func cmdState(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 && len(args) != 3 {
		ts.Fatalf("usage: state NAME STATE [ID]")
	}
	c, err := must(ts, engineOnce).api.ContainerInspect(context.Background(), args[0])
	ts.Check(err)
	if got := c.State.Status; got != args[1] {
		ts.Fatalf("container %s is %s, not %s", args[0], got, args[1])
	}
	if len(args) == 3 && c.ID != args[2] {
		ts.Fatalf("container %s is %s, not %s", args[0], c.ID, args[2])
	}
}

// archived IMAGE PATH TEXT checks a file of an image that a script loaded, and
// removes the image.
func cmdArchived(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: archived IMAGE PATH TEXT")
	}
	e, ctx := must(ts, engineOnce), context.Background()
	c, err := e.api.ContainerCreate(ctx, &container.Config{Image: args[0]}, nil, nil, nil, "")
	ts.Check(err)
	got, err := e.read(c.ID, args[1])
	e.remove(c.ID)
	ts.Check(err)
	_, err = e.api.ImageRemove(ctx, args[0], image.RemoveOptions{Force: true})
	ts.Check(err)
	if got != args[2] {
		ts.Fatalf("%s in %s holds %q, not %q", args[1], args[0], got, args[2])
	}
}

// clean checks that no snapshot of this script's points and no helper of its volumes is
// left on the Engine, and nothing staged in the sinks below the script's folder.
func cmdClean(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: clean")
	}
	staged, err := filepath.Glob(ts.MkAbs("*/sink/staging/*"))
	ts.Check(err)
	other, err := filepath.Glob(ts.MkAbs("*/staging/*"))
	ts.Check(err)
	if left := slices.Concat(staged, other); len(left) > 0 {
		ts.Fatalf("left in the sink: %v", left)
	}
	helpers, err := must(ts, engineOnce).helpers(ts.Getenv("P")+"-", ts.MkAbs("."))
	ts.Check(err)
	if len(helpers) > 0 {
		ts.Fatalf("helpers are left on the Engine: %v", helpers)
	}
	refs, err := must(ts, engineOnce).snapshots()
	ts.Check(err)
	points := map[string]bool{}
	ts.Check(filepath.WalkDir(ts.MkAbs("."), func(p string, _ os.DirEntry, err error) error {
		points[filepath.Base(p)] = true
		return nil
	}))
	ports, err := registryPorts(ts)
	ts.Check(err)
	for _, ref := range refs {
		if address, _, ok := strings.Cut(ref, "/"); ok && ports[address] {
			ts.Fatalf("image %s, by a name of the registry of a worker, is left on the Engine", ref)
		}
		tag := ref[strings.LastIndexByte(ref, ':')+1:]
		if points[tag[:strings.LastIndexByte(tag, '-')]] {
			ts.Fatalf("snapshot %s is left on the Engine", ref)
		}
	}
}

// registryPorts are the addresses of the registries of the script's workers.
func registryPorts(ts *testscript.TestScript) (map[string]bool, error) {
	found, err := filepath.Glob(ts.MkAbs("*/registry.json"))
	ports := map[string]bool{}
	for _, path := range found {
		var own state.Registry
		raw, rerr := os.ReadFile(path)
		if rerr == nil {
			rerr = json.Unmarshal(raw, &own)
		}
		err = errors.Join(err, rerr)
		ports[fmt.Sprintf("127.0.0.1:%d", own.Port)] = true
	}
	return ports, err
}

// await GLOB waits until a file is there that is not empty: a worker that serves has
// announced itself, or something is being stored.
func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await GLOB")
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		found, err := filepath.Glob(ts.MkAbs(args[0]))
		ts.Check(err)
		for _, f := range found {
			if info, err := os.Stat(f); err == nil && info.Size() > 0 {
				return
			}
		}
	}
	ts.Fatalf("%s does not appear", args[0])
}

func must[T any](ts *testscript.TestScript, f func() (T, error)) T {
	v, err := f()
	if err != nil {
		ts.Fatalf("%v", fmt.Errorf("the Engine: %w", err))
	}
	return v
}

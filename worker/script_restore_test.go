package main

import (
	"context"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"
	"github.com/rogpeppe/go-internal/testscript"
)

// restoreCmds are the commands of scripts about what comes back.
var restoreCmds = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"remove":  cmdRemove,
	"back":    cmdBack,
	"commit":  cmdCommit,
	"holds":   cmdHolds,
	"network": cmdNetwork,
	"volume":  cmdVolume,
}

// network NAME SUBNET makes a network. With ! it removes the network, if it is there.
// Either way it is removed at the script's end. Scripts run at the same time on one
// Engine: each takes its addresses from a /20 of 10.214.0.0/16 that no other one uses.
func cmdNetwork(ts *testscript.TestScript, neg bool, args []string) {
	if neg && len(args) != 1 || !neg && len(args) != 2 {
		ts.Fatalf("usage: network NAME SUBNET, or ! network NAME")
	}
	e, ctx := must(ts, engineOnce), context.Background()
	if neg {
		ts.Check(e.api.NetworkRemove(ctx, args[0]))
		return
	}
	ts.Defer(func() { _ = e.api.NetworkRemove(ctx, args[0]) })
	_, err := e.api.NetworkCreate(ctx, args[0], network.CreateOptions{
		Driver: "bridge", IPAM: &network.IPAM{Config: []network.IPAMConfig{{Subnet: args[1]}}}})
	ts.Check(err)
}

// volume NAME [OPTION=VALUE...] makes a volume with options of its driver, which is
// removed at the script's end.
func cmdVolume(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: volume NAME [OPTION=VALUE...]")
	}
	e, ctx := must(ts, engineOnce), context.Background()
	options := map[string]string{}
	for _, option := range args[1:] {
		k, v, _ := strings.Cut(option, "=")
		options[k] = v
	}
	ts.Defer(func() { _ = e.api.VolumeRemove(ctx, args[0], true) })
	_, err := e.api.VolumeCreate(ctx, volume.CreateOptions{Name: args[0], DriverOpts: options})
	ts.Check(err)
}

// commit NAME REFERENCE makes an image of a container, which goes with the script.
func cmdCommit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: commit NAME REFERENCE")
	}
	e, ctx := must(ts, engineOnce), context.Background()
	ts.Defer(func() { _, _ = e.api.ImageRemove(ctx, args[1], image.RemoveOptions{Force: true}) })
	_, err := e.api.ContainerCommit(ctx, args[0], container.CommitOptions{Reference: args[1]})
	ts.Check(err)
}

// remove NAME [VOLUME...] removes a container, and volumes.
func cmdRemove(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: remove NAME [VOLUME...]")
	}
	e, ctx := must(ts, engineOnce), context.Background()
	ts.Check(e.api.ContainerRemove(ctx, args[0], container.RemoveOptions{Force: true}))
	for _, v := range args[1:] {
		ts.Check(e.api.VolumeRemove(ctx, v, false))
	}
}

// back NAME STATE checks that a container is there and in a state, sets ID to its id, and
// has it removed at the script's end, with its image of a point. With ! it must not be
// there.
func cmdBack(ts *testscript.TestScript, neg bool, args []string) {
	if !neg && len(args) != 2 || neg && len(args) != 1 {
		ts.Fatalf("usage: back NAME STATE, or ! back NAME")
	}
	e, ctx := must(ts, engineOnce), context.Background()
	c, err := e.api.ContainerInspect(ctx, args[0])
	if neg {
		if !errdefs.IsNotFound(err) {
			ts.Fatalf("container %s is there: %v", args[0], err)
		}
		return
	}
	ts.Check(err)
	ts.Defer(func() {
		e.remove(c.ID)
		if strings.HasPrefix(c.Config.Image, "sha256:") || strings.HasPrefix(c.Config.Image, "holdfast/") {
			_, _ = e.api.ImageRemove(ctx, c.Image, image.RemoveOptions{Force: true})
		}
	})
	if c.State.Status != args[1] {
		ts.Fatalf("container %s is %s, not %s", args[0], c.State.Status, args[1])
	}
	ts.Setenv("ID", c.ID)
}

// holds NAME PATH TEXT checks a file of a container.
func cmdHolds(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: holds NAME PATH TEXT")
	}
	got, err := must(ts, engineOnce).read(args[0], args[1])
	ts.Check(err)
	if got != args[2] {
		ts.Fatalf("%s in %s holds %q, not %q", args[1], args[0], got, args[2])
	}
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/provision"
	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/open"
	"holdfast.io/holdfast/internal/state"
)

// lowSpace is the free space, in bytes, below which the doctor warns.
const lowSpace = 1 << 30

func doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check Engine, message server, streams, sinks, rights and free space",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(cmd)
			if err != nil {
				return err
			}
			d := &doctor{cfg: cfg, log: log, out: cmd.OutOrStdout()}
			ctx := cmd.Context()
			d.checkState()
			d.checkEngine(ctx)
			d.checkServer(ctx)
			d.checkSinks(ctx)
			if d.failures > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s to mend\n", present.Count(d.failures, "thing"))
				return &exitError{status: exitFailed}
			}
			return nil
		},
	}
}

// doctor looks at everything that a worker needs, and changes nothing but a
// probe file in each sink, which it removes.
type doctor struct {
	cfg      *config.Config
	log      *zap.Logger
	out      io.Writer
	host     string
	endpoint *state.Endpoint // of the worker that serves, if one does
	failures int
}

func (d *doctor) ok(what, format string, args ...any) {
	fmt.Fprintf(d.out, "ok    %-8s %s\n", what, present.Escape(fmt.Sprintf(format, args...)))
}

func (d *doctor) warn(what, format string, args ...any) {
	fmt.Fprintf(d.out, "warn  %-8s %s\n", what, present.Escape(fmt.Sprintf(format, args...)))
}

// fail reports what is wrong and how to mend it.
func (d *doctor) fail(what string, err error, remedy string) {
	d.failures++
	fmt.Fprintf(d.out, "FAIL  %-8s %s\n", what, present.Escape(err.Error()))
	fmt.Fprintf(d.out, "      %-8s -> %s\n", "", present.Escape(remedy))
}

func (d *doctor) checkState() {
	dir, err := state.Hold(d.cfg.StateDir)
	switch {
	case errors.Is(err, state.ErrLocked):
		end, err := state.Find(d.cfg.StateDir)
		switch {
		case errors.Is(err, os.ErrNotExist):
			d.ok("state", "%s, in use by a worker with a server of its own configuration", d.cfg.StateDir)
		case err != nil:
			d.fail("state", err, "start the worker again; it leaves a new one")
		default:
			d.endpoint = &end
			d.ok("state", "%s, in use by the worker of host %s", d.cfg.StateDir, end.Host)
		}
	case err != nil:
		d.fail("state", err, "give this user the folder, or choose another one with --state-dir")
	default:
		d.ok("state", "%s, no worker is running", d.cfg.StateDir)
		if err := dir.Close(); err != nil {
			d.fail("state", err, "look at the folder's rights")
		}
	}
	if exposed, err := state.Exposed(d.cfg.StateDir); err == nil && exposed != "" {
		d.warn("state", "%s: %s", d.cfg.StateDir, exposed)
	}
}

func (d *doctor) checkServer(ctx context.Context) {
	options := busOptions(d.cfg)
	switch {
	case d.cfg.NATS.URL != "":
	case d.endpoint != nil:
		options.URL, options.User, options.Password = d.endpoint.URL, d.endpoint.User, d.endpoint.Password
	default:
		d.ok("nats", "none configured: our own starts with holdfast serve")
		return
	}
	options.Logger = d.log
	b, err := bus.Connect(ctx, options)
	if err != nil {
		d.fail("nats", err, "check the URL (--nats), the credentials, and that the server runs")
		return
	}
	defer b.Close()
	d.ok("nats", "connected to %s", b.PeerAddr())
	var hosts []string
	if d.host != "" {
		hosts = []string{d.host}
	}
	changes, err := provision.Check(ctx, b, hosts)
	if err != nil {
		d.fail("streams", err, "let this user read the streams, and enable JetStream on the server")
		return
	}
	for _, c := range changes {
		d.fail("streams", errors.New(changeLine(c)),
			fmt.Sprintf("run holdfast provision --host-id %s, with --update to change what differs", d.host))
	}
	if len(changes) == 0 {
		d.ok("streams", "all as they should be")
	}
}

func (d *doctor) checkSinks(ctx context.Context) {
	sinks := sinkConfigs(d.cfg)
	if d.endpoint != nil && usesStateDirSink(d.cfg) {
		c, err := announcedSink(*d.endpoint)
		if err != nil {
			d.fail("sink", err, "restart the worker")
			return
		}
		sinks[events.DefaultSink] = c
	}
	for _, name := range sortedKeys(sinks) {
		d.checkSink(ctx, name, sinks[name])
	}
}

func (d *doctor) checkSink(ctx context.Context, name string, c open.Config) {
	what := "sink"
	location, err := open.Location(c)
	if err != nil {
		d.fail(what, fmt.Errorf("%s: %w", name, err), "correct the location")
		return
	}
	if usesStateDirSink(d.cfg) {
		if _, err := os.Stat(location); errors.Is(err, os.ErrNotExist) {
			d.ok(what, "%s at %s: will be made with the first backup", name, location)
			return
		}
	}
	s, err := open.Existing(ctx, c, ownKeys(d.cfg.StateDir))
	if err != nil {
		d.fail(what, fmt.Errorf("%s: %w", name, err),
			"see that the place is there and may be used; the first backup sets a sink up where it is empty")
		return
	}
	for _, w := range open.Caveats(c) {
		d.warn(what, "%s at %s: %s", name, location, w)
	}
	condition := "there"
	if s, ok := sink.As[sink.Prober](s); ok {
		probed, err := s.Probe(ctx)
		if err != nil {
			d.fail(what, fmt.Errorf("%s: %w", name, err), "let the worker write there, and nobody else read it")
			return
		}
		for _, w := range probed.Warnings {
			d.warn(what, "%s at %s: %s", name, location, w)
		}
		condition = "writable"
		if len(probed.May) > 0 {
			condition += "; these credentials may " + strings.Join(probed.May, ", ")
		}
	}
	room, low, err := roomOf(ctx, s)
	switch {
	case err != nil:
		d.fail(what, fmt.Errorf("%s: %w", name, err), "look at the file system, and at the way to the sink")
	case low != "":
		d.warn(what, "%s at %s: %s", name, location, low)
	default:
		d.ok(what, "%s at %s: %s, format %s", name, location, condition+room, layered.FormatOf(s))
	}
	d.checkDirect(ctx, name, s)
	cost, err := costOf(ctx, s)
	switch {
	case err != nil:
		d.fail(what, fmt.Errorf("%s: %w", name, err), "see that its points can be listed and read")
	case cost != "":
		d.ok(what, "%s: %s", name, cost)
	}
}

// costPoints is of how many points the doctor says what they took.
const costPoints = 10

// costOf says what the newest points of a sink took to store.
func costOf(ctx context.Context, s sink.Sink) (cost string, err error) {
	newest, err := newestPoints(ctx, s, costPoints)
	if err != nil || len(newest) == 0 {
		return "", err
	}
	billed, priced := sink.As[sink.Billed](s)
	var points, objects int
	var bytes, requests int64
	for _, dir := range newest {
		m, err := point.Read(ctx, s, dir)
		if err != nil { // list and verify say more of it
			continue
		}
		sizes := sizesOf(m)
		points++
		objects += len(sizes) + 1 // and the manifest
		bytes += m.Size()
		if priced {
			requests += billed.Requests(sizes)
		}
	}
	cost = fmt.Sprintf("last %s: %s, %s", present.Count(points, "point"), present.Count(objects, "object"), present.Bytes(bytes))
	if requests > 0 {
		cost += fmt.Sprintf(", about %d requests to store", requests)
	}
	return cost, nil
}

// sizesOf returns the sizes of what a point has beside its manifest.
func sizesOf(m *point.Manifest) (sizes []int64) {
	for _, a := range m.Artifacts {
		sizes = append(sizes, a.Size)
	}
	if m.Signature != "" {
		sizes = append(sizes, 0) // a small one
	}
	return sizes
}

// newestPoints returns the folders of so many points, the newest first, as far as there are.
func newestPoints(ctx context.Context, s sink.Lister, most int) (dirs []string, err error) {
	for found, err := range s.Points(ctx, sink.PointsName) {
		if err != nil {
			return nil, err
		}
		dirs = append(dirs, found.Dir)
	}
	slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(path.Base(b), path.Base(a)) }) // ids begin with a time
	return dirs[:min(most, len(dirs))], nil
}

// roomOf says how much room a sink has, as far as that is known, or that it is low.
func roomOf(ctx context.Context, s sink.Sink) (room, low string, err error) {
	if spacer, ok := sink.As[sink.Spacer](s); ok {
		free, err := spacer.Free(ctx)
		if err != nil {
			return "", "", err
		}
		if free < lowSpace {
			return "", fmt.Sprintf("only %s free", present.Bytes(free)), nil
		}
		room = fmt.Sprintf(", %s free", present.Bytes(free))
	}
	if rationed, ok := sink.As[sink.Rationed](s); ok {
		used, quota, err := rationed.Ration(ctx)
		if err != nil {
			return "", "", err
		}
		of := fmt.Sprintf("%s of its quota of %s used", present.Bytes(used), present.Bytes(quota))
		if used >= quota-quota/10 {
			return "", of + "; prune, or raise the quota", nil
		}
		room += ", " + of
	}
	return room, "", nil
}

package main

import (
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/restore"
)

// restoreFlags are the flags of holdfast restore.
type restoreFlags struct {
	images, volumes                         bool
	from, as, name, volumeMode, networks    string
	replace, dependants, abortOnError, plan bool
	gate, timeout, to                       string
	tags                                    map[string]string
	orderFlags
}

func restoreCommand() *cobra.Command {
	var f restoreFlags
	cmd := &cobra.Command{
		Use:   "restore POINT|CONTAINER[@latest|@TIME]...",
		Short: "Bring containers, images and volumes back from what is stored",
		Long: `Bring containers back, by the ids of their points or by their names: of a name the
newest point counts, or with @TIME the newest that is not later. With --image or
--volume the names are of those. What is asked for is done whole or not at all:
after a failure the host is as it was.`,
		Example: `  holdfast restore web-1
  holdfast restore web-1@2026-01-31T18:00:00Z --name web-1b --volumes new
  holdfast restore 20261122T222558Z-1a0b5fe3 --replace --volumes keep
  holdfast restore shop-db shop-web --from web01 --networks create
  holdfast restore web-1 --dry-run`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.to != "" {
				return f.toFolder(cmd, args)
			}
			o := order{kind: events.Restore, orderFlags: f.orderFlags}
			o.request = func(sink string) (any, error) { return f.request(args, sink) }
			return o.run(cmd)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&f.images, "image", false, "the names are of images")
	fs.BoolVar(&f.volumes, "volume", false, "the names are of volumes")
	fs.StringVar(&f.from, "from", "", "the `HOST` whose points are meant by names (default the host that restores)")
	fs.StringVar(&f.as, "as", "", "how far a container is brought back: image, create or start (default start)")
	fs.StringVar(&f.name, "name", "", "the `NAME` that the container gets (default its own)")
	fs.BoolVar(&f.replace, "replace", false, "put it in the place of the container that has its name")
	fs.StringVar(&f.volumeMode, "volumes", "", "what becomes of volumes: none, empty, keep, new or replace (default empty)")
	fs.StringVar(&f.networks, "networks", "", "networks that are not there: existing (an error) or create (default existing)")
	fs.BoolVar(&f.dependants, "recreate-dependants", false, "re-create containers that share the namespaces of one that is replaced")
	fs.StringVar(&f.gate, "gate", "", "how long a started container must run, as a `DURATION` (default 10s)")
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first error")
	fs.BoolVar(&f.plan, "dry-run", false, "only say what would be done")
	fs.StringToStringVar(&f.tags, "tag", nil, "keep `K=V` with every point that is stored meanwhile (repeatable)")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 30m")
	fs.StringVar(&f.to, "to", "", "write into a new folder in `DIR`, without an Engine: image archive, volumes and configuration")
	f.add(fs, events.Restore)
	return cmd
}

// toFolder writes points into folders, without an Engine.
func (f *restoreFlags) toFolder(cmd *cobra.Command, args []string) error {
	for _, flag := range []string{"as", "name", "replace", "volumes", "networks", "recreate-dependants", "gate", "dry-run",
		"host", "detach", "json"} {
		if cmd.Flags().Changed(flag) {
			return usage("--%s has no meaning with --to: no Engine is asked", flag)
		}
	}
	q := point.Query{Kind: events.ItemContainer, Host: f.from}
	switch {
	case f.images:
		q.Kind = events.ItemImage
	case f.volumes:
		q.Kind = events.ItemVolume
	}
	from, location, err := readSink(cmd)
	if err != nil {
		return err
	}
	asTar := os.Geteuid() != 0 // only root may give files their owners
	for _, arg := range args {
		found, err := point.Find(cmd.Context(), from, arg, q)
		if err == nil {
			err = found.Err
		}
		if err != nil {
			return fmt.Errorf("%w (in the sink %s; 'holdfast list' shows its points)", err, location)
		}
		s, err := restore.Open(cmd.Context(), from, found.Dir)
		if err != nil {
			return fmt.Errorf("read point %s: %w", found.ID(), err)
		}
		dir, lost, err := s.ToFolder(cmd.Context(), f.to, asTar)
		if err != nil {
			return fmt.Errorf("restore point %s: %w", found.ID(), err)
		}
		for _, what := range lost {
			warn(cmd, "not all could be kept of %s", what)
		}
		fmt.Fprintln(cmd.OutOrStdout(), dir)
	}
	return nil
}

// request makes the request that the flags and arguments stand for.
func (f *restoreFlags) request(args []string, sink string) (any, error) {
	if f.images && f.volumes {
		return nil, usage("--image and --volume contradict each other: leave one out")
	}
	r := &events.RestoreRequest{
		Sink: sink, As: events.RestoreAs(f.as), Name: f.name, Replace: f.replace, Networks: events.RestoreNetworks(f.networks),
		Gate: f.gate, AbortOnError: f.abortOnError, DryRun: f.plan, Timeout: f.timeout, Tags: maps.Clone(f.tags),
	}
	if f.dependants {
		r.Dependants = events.DependantsRecreate
	}
	points, named, err := splitPoints(args, f.from)
	if err != nil {
		return nil, err
	}
	r.Points = points
	switch {
	case len(named.Names) == 0 && f.from != "":
		return nil, usage("--from is for names: the id of a point says whose it is")
	case f.volumes:
		r.Volumes = &events.RestoreVolumes{Mode: events.VolumeMode(f.volumeMode), PointSelector: named}
	case f.volumeMode != "":
		r.Volumes = &events.RestoreVolumes{Mode: events.VolumeMode(f.volumeMode)}
	}
	switch {
	case f.volumes || len(named.Names) == 0:
	case f.images:
		r.Images = &named
	default:
		r.Containers = &named
	}
	return valid(r, events.ParseRestoreRequest)
}

// splitPoints splits arguments into ids of points, and names of things of the host from.
func splitPoints(args []string, from string) (points []string, named events.PointSelector, err error) {
	for _, arg := range args {
		if pointID.MatchString(arg) {
			points = append(points, arg)
			continue
		}
		name, at := splitTime(arg)
		if len(named.Names) > 0 && at != named.At {
			return nil, named, usage("all names must be of one time: %q is not of the same as those before it; ask for it by itself", arg)
		}
		named.Names, named.At, named.From = append(named.Names, name), at, from
	}
	return points, named, nil
}

// splitTime splits NAME@TIME. What follows the "@" of a digest is part of the name.
func splitTime(arg string) (name, at string) {
	i := strings.LastIndex(arg, "@")
	if i < 0 {
		return arg, ""
	}
	if at = arg[i+1:]; at != events.AtLatest {
		if _, err := time.Parse(time.RFC3339, at); err != nil {
			return arg, ""
		}
	}
	return arg[:i], at
}

package main

import (
	"maps"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
)

// backupFlags are the flags of holdfast backup.
type backupFlags struct {
	match, exclude, labels, states, images []string
	volumes, sinks                         []string
	attached, binds, hot                   bool
	all, abortOnError, dryRun, together    bool
	quiesce, timeout                       string
	tags                                   map[string]string
	orderFlags
}

func backupCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup [CONTAINER...]",
		Short: "Back up containers, images and volumes, and follow it",
		Long: `Back up containers, by name or id, images and volumes. The request goes through the same
events as everyone's: to the worker that serves the state dir, to the fleet
with --nats, and without either to a worker in this process.`,
		Example: `  holdfast backup web-1 db-1
  holdfast backup --all --exclude '-test$'
  holdfast backup --label tier=web --dry-run
  holdfast backup db-1 --attached-volumes
  holdfast backup --volume pgdata
  holdfast backup --image app:v1 --sink /mnt/backup
  holdfast backup web-1 --sinks local,offsite
  holdfast backup --label tier=web --all-hosts --nats nats://nats.example.com`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o := order{kind: events.Backup, named: f.named(args), orderFlags: f.orderFlags}
			if len(f.sinks) > 0 && cmd.Flags().Changed("sink") {
				return usage("--sink and --sinks contradict each other: leave one out")
			}
			o.request = func(sink string) (any, error) { return f.request(args, sink) }
			return o.run(cmd)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.match, "match", nil, "containers whose name matches `RE` (RE2, unanchored; repeatable)")
	fs.StringArrayVar(&f.exclude, "exclude", nil, "but not those whose name matches `RE` (repeatable; never narrows names)")
	fs.StringArrayVar(&f.labels, "label", nil, "containers with the label `K[=V]` (several must all hold)")
	fs.StringArrayVar(&f.states, "state", nil, "only containers in `STATE` (repeatable; never narrows names)")
	fs.BoolVar(&f.all, "all", false, "all containers")
	fs.StringArrayVar(&f.images, "image", nil, "the image `NAME` (repeatable)")
	fs.StringArrayVar(&f.volumes, "volume", nil, "the volume `NAME`, as a point of its own (repeatable)")
	fs.BoolVar(&f.attached, "attached-volumes", false, "the volumes of each selected container, in the container's point")
	fs.BoolVar(&f.binds, "binds", false, "its bind mounts too, as far as the host allows them")
	fs.BoolVar(&f.hot, "hot", false, "read volumes after the container runs again; otherwise it is quiesced until they are read")
	fs.StringVar(&f.quiesce, "quiesce", "", "what is done to a running container meanwhile: pause, none or stop (default pause)")
	fs.BoolVar(&f.together, "together", false, "capture all containers of a host at one point in time, or none")
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first error; a missing name ends it before anything is touched")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be backed up, and why")
	fs.StringSliceVar(&f.sinks, "sinks", nil, "store in all of these `SINKS` of the configuration: NAME,NAME,...")
	fs.StringToStringVar(&f.tags, "tag", nil, "keep `K=V` with every point (repeatable)")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 30m")
	f.add(fs, events.Backup)
	return cmd
}

// named are the names that are asked for.
func (f *backupFlags) named(containers []string) []events.Skipped {
	var named []events.Skipped
	for _, name := range containers {
		named = append(named, events.Skipped{Kind: events.ItemContainer, Name: name})
	}
	for _, name := range f.images {
		named = append(named, events.Skipped{Kind: events.ItemImage, Name: name})
	}
	return named
}

// request makes the request that the flags and names stand for, and holds it
// against the schema as the worker will.
func (f *backupFlags) request(names []string, sink string) (any, error) {
	r := &events.BackupRequest{
		Quiesce: events.Quiesce(f.quiesce), Together: f.together, AbortOnError: f.abortOnError, DryRun: f.dryRun,
		Timeout: f.timeout, Sink: sink, Sinks: f.sinks, Tags: maps.Clone(f.tags),
	}
	if len(f.sinks) > 0 {
		r.Sink = "" // that of the configuration
	}
	containers := &events.ContainerSelector{Names: names, Match: f.match, Labels: f.labels, All: f.all, Exclude: f.exclude}
	for _, s := range f.states {
		containers.States = append(containers.States, events.State(s))
	}
	if len(names)+len(f.match)+len(f.labels)+len(f.states)+len(f.exclude) > 0 || f.all {
		r.Containers = containers
	}
	if len(f.images) > 0 {
		r.Images = &events.ImageSelector{Names: f.images}
	}
	if len(f.volumes) > 0 || f.attached || f.binds || f.hot {
		r.Volumes = &events.VolumeSelector{Names: f.volumes, Attached: f.attached, Binds: f.binds, Hot: f.hot}
	}
	if r.Containers == nil && r.Images == nil && len(f.volumes) == 0 {
		return nil, usage("nothing is selected: name containers, or use --match, --label, --image, --volume or --all")
	}
	return valid(r, events.ParseBackupRequest)
}

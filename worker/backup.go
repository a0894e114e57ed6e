package main

import (
	"encoding/json"
	"maps"
	"time"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
)

// backupFlags are the flags of holdfast backup.
type backupFlags struct {
	match, exclude, labels, states, images []string
	all, abortOnError, dryRun, together    bool
	quiesce, timeout, host                 string
	tags                                   map[string]string
	allHosts, detach, json                 bool
	wait                                   time.Duration
}

func backupCommand() *cobra.Command {
	var f backupFlags
	cmd := &cobra.Command{
		Use:   "backup [CONTAINER...]",
		Short: "Back up containers and images, and follow it",
		Long: `Back up containers, by name or id, and images. The request goes through the same
events as everyone's: to the worker that serves the state dir, to the fleet
with --nats, and without either to a worker in this process.`,
		Example: `  holdfast backup web-1 db-1
  holdfast backup --all --exclude '-test$'
  holdfast backup --label tier=web --dry-run
  holdfast backup --image app:v1 --sink /mnt/backup
  holdfast backup --label tier=web --all-hosts --nats nats://nats.example.com`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return runBackup(cmd, &f, args) },
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&f.match, "match", nil, "containers whose name matches `RE` (RE2, unanchored; repeatable)")
	fs.StringArrayVar(&f.exclude, "exclude", nil, "but not those whose name matches `RE` (repeatable; never narrows names)")
	fs.StringArrayVar(&f.labels, "label", nil, "containers with the label `K[=V]` (several must all hold)")
	fs.StringArrayVar(&f.states, "state", nil, "only containers in `STATE` (repeatable; never narrows names)")
	fs.BoolVar(&f.all, "all", false, "all containers")
	fs.StringArrayVar(&f.images, "image", nil, "the image `NAME` (repeatable)")
	fs.StringVar(&f.quiesce, "quiesce", "", "what is done to a running container meanwhile: pause, none or stop (default pause)")
	fs.BoolVar(&f.together, "together", false, "capture all containers of a host at one point in time, or none")
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first error; a missing name ends it before anything is touched")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be backed up, and why")
	fs.StringToStringVar(&f.tags, "tag", nil, "keep `K=V` with every point (repeatable)")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 30m")
	fs.StringVar(&f.host, "host", "", "the `HOST` to ask, with --nats")
	fs.BoolVar(&f.allHosts, "all-hosts", false, "ask all hosts, with --nats; a host that does not have a named container skips it")
	fs.DurationVar(&f.wait, "wait", time.Minute, "how long to wait for a host to begin, with --all-hosts or where no worker serves it")
	fs.BoolVar(&f.detach, "detach", false, "print the job's id and do not wait, with --nats or a running worker")
	fs.BoolVar(&f.json, "json", false, "print the result events, one a line")
	return cmd
}

// request makes the request that the flags and names stand for, and holds it
// against the schema as the worker will.
func (f *backupFlags) request(names []string, sink string) (*events.BackupRequest, error) {
	r := &events.BackupRequest{
		Quiesce: events.Quiesce(f.quiesce), Together: f.together, AbortOnError: f.abortOnError, DryRun: f.dryRun,
		Timeout: f.timeout, Sink: sink, Tags: maps.Clone(f.tags),
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
	if r.Containers == nil && r.Images == nil {
		return nil, usage("nothing is selected: name containers, or use --match, --label, --image or --all")
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if _, err := events.ParseBackupRequest(raw); err != nil {
		return nil, &exitError{status: exitUsage, cause: err}
	}
	return r, nil
}

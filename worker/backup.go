package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"sync"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/state"
)

// backupFlags are the flags of holdfast backup.
type backupFlags struct {
	match, exclude, labels, states, images []string
	all, abortOnError, dryRun              bool
	quiesce, timeout, host                 string
	tags                                   map[string]string
	detach, json                           bool
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
  holdfast backup --image app:v1 --sink /mnt/backup`,
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
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first error; a missing name ends it before anything is touched")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be backed up, and why")
	fs.StringToStringVar(&f.tags, "tag", nil, "keep `K=V` with every point (repeatable)")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 30m")
	fs.StringVar(&f.host, "host", "", "the `HOST` to ask, with --nats")
	fs.BoolVar(&f.detach, "detach", false, "print the job's id and do not wait, with --nats or a running worker")
	fs.BoolVar(&f.json, "json", false, "print the result events, one a line")
	return cmd
}

// request makes the request that the flags and names stand for, and holds it
// against the schema as the worker will.
func (f *backupFlags) request(names []string, sink string) (*events.BackupRequest, error) {
	r := &events.BackupRequest{
		Quiesce: events.Quiesce(f.quiesce), AbortOnError: f.abortOnError, DryRun: f.dryRun,
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

func runBackup(cmd *cobra.Command, f *backupFlags, names []string) error {
	cfg, log, err := settings(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if cfg.NATS.URL != "" {
		return f.remote(ctx, cfg, log, names)
	}
	if f.host != "" {
		return usage("--host needs --nats: without it only this host can be asked")
	}
	n, err := node.Start(ctx, nodeOptions(inProcess(cfg), log))
	if errors.Is(err, state.ErrLocked) {
		return f.local(ctx, cfg, log, names)
	}
	if err != nil {
		return err
	}
	defer n.Close()
	return f.inProcess(ctx, n, names)
}

// inProcess makes the settings those of a worker that lives for one command: it
// allows its user every quiesce mode, and tells what is away rather than wait.
func inProcess(cfg *config) *config {
	if cfg.Policy.Quiesce == nil {
		cfg.Policy.Quiesce = []events.Quiesce{events.QuiescePause, events.QuiesceNone, events.QuiesceStop}
	}
	cfg.RetryFor = 0
	return cfg
}

// remote asks a worker of the fleet.
func (f *backupFlags) remote(ctx context.Context, cfg *config, log *zap.Logger, names []string) error {
	if f.host == "" {
		return usage("--nats needs --host: which host is to be asked?")
	}
	req, err := f.request(names, cfg.Sink)
	if err != nil {
		return err
	}
	b, err := cfg.connect(ctx, log)
	if err != nil {
		return err
	}
	defer b.Close()
	return f.follow(ctx, b, events.HostID(f.host), req, false)
}

// local asks the worker that serves the state dir.
func (f *backupFlags) local(ctx context.Context, cfg *config, log *zap.Logger, names []string) error {
	end, err := state.Find(cfg.StateDir)
	if err != nil {
		return fmt.Errorf("the state dir %s is in use, but its owner cannot be reached: %w", cfg.StateDir, err)
	}
	if cfg.Sink != "" {
		return usage("--sink cannot be given while a worker serves %s: it stores to %s", cfg.StateDir, end.Sink)
	}
	req, err := f.request(names, "")
	if err != nil {
		return err
	}
	b, err := bus.Connect(ctx, bus.Options{URL: end.URL, User: end.User, Password: end.Password, Name: "holdfast backup", Logger: log})
	if err != nil {
		return err
	}
	defer b.Close()
	return f.follow(ctx, b, end.Host, req, false)
}

// inProcess runs a worker for just this request.
func (f *backupFlags) inProcess(ctx context.Context, n *node.Node, names []string) error {
	if f.detach {
		return usage("--detach needs a worker that goes on: start holdfast serve, or use --nats")
	}
	req, err := f.request(names, "")
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	// The worker ends when the job has, not at Ctrl-C: that cancels the job.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var failure error
	running.Go(func() { failure = n.Run(work) })
	err = f.follow(ctx, n.Bus, n.Host, req, true)
	stop()
	running.Wait()
	return errors.Join(err, failure)
}

// follow publishes the request and shows its job to the end. Ctrl-C cancels the
// job if it is own, and otherwise leaves it to its worker.
func (f *backupFlags) follow(ctx context.Context, b *bus.Bus, host string, req *events.BackupRequest, own bool) error {
	job, err := client.Backup(ctx, b, host, req)
	if err != nil {
		return err
	}
	defer job.Close()
	if f.detach {
		fmt.Println(job.ID)
		return nil
	}
	show := newPresenter(os.Stdout, os.Stderr, f.json)
	defer show.close()
	for {
		ev, err := job.Next(ctx)
		switch {
		case err != nil && ctx.Err() != nil && !own:
			show.note("detached: job %s goes on at host %s", job.ID, host)
			return &exitError{status: exitCancelled}
		case err != nil && ctx.Err() != nil:
			show.note("cancelling job %s", job.ID)
			ctx = context.WithoutCancel(ctx)
			if err := job.Cancel(ctx, b); err != nil {
				return err
			}
			continue
		case err != nil:
			return err
		}
		done, err := show.event(ev)
		if done || err != nil {
			return err
		}
	}
}

// exitFor turns a job's end into an exit status.
func exitFor(status events.Status) error {
	switch status {
	case events.StatusSucceeded:
		return nil
	case events.StatusPartial:
		return &exitError{status: exitPartial}
	case events.StatusCancelled:
		return &exitError{status: exitCancelled}
	}
	return &exitError{status: exitFailed}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/state"
)

func runBackup(cmd *cobra.Command, f *backupFlags, names []string) error {
	cfg, log, err := settings(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	switch {
	case f.host != "" && f.allHosts:
		return usage("--host and --all-hosts contradict each other: leave one out")
	case cfg.NATS.URL != "" && f.allHosts:
		return f.fleet(ctx, cfg, log, names)
	case cfg.NATS.URL != "":
		return f.remote(ctx, cfg, log, names)
	case f.host != "" || f.allHosts:
		return usage("--host and --all-hosts need --nats: without it only this host can be asked")
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
func inProcess(cfg *config.Config) *config.Config {
	if cfg.Policy.Quiesce == nil {
		cfg.Policy.Quiesce = []events.Quiesce{events.QuiescePause, events.QuiesceNone, events.QuiesceStop}
	}
	cfg.RetryFor = 0
	return cfg
}

// answerWait is how long a worker has to say that it is there.
const answerWait = time.Second

// remote asks a worker of the fleet.
func (f *backupFlags) remote(ctx context.Context, cfg *config.Config, log *zap.Logger, names []string) error {
	if f.host == "" {
		return usage("--nats needs --host or --all-hosts: who is to be asked?")
	}
	req, err := f.request(names, cfg.Sink)
	if err != nil {
		return err
	}
	b, err := connectConfigured(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer b.Close()
	host := events.HostID(f.host)
	served, err := fleet.Of(b).Served(ctx, host, answerWait)
	if err != nil && !errors.Is(err, bus.ErrDenied) { // who may not ask does without
		return err
	}
	w := &watch{show: present.New(os.Stdout, os.Stderr, f.json)}
	if !served && err == nil {
		w.patience = f.wait
	}
	return f.follow(ctx, b, host, req, w)
}

// local asks the worker that serves the state dir.
func (f *backupFlags) local(ctx context.Context, cfg *config.Config, log *zap.Logger, names []string) error {
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
	b, err := connectTo(ctx, end, log)
	if err != nil {
		return err
	}
	defer b.Close()
	return f.follow(ctx, b, end.Host, req, &watch{show: present.New(os.Stdout, os.Stderr, f.json)})
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
	err = f.follow(ctx, n.Bus, n.Host, req, &watch{show: present.New(os.Stdout, os.Stderr, f.json), own: true})
	stop()
	running.Wait()
	return errors.Join(err, failure)
}

// follow publishes the request, and watches its job.
func (f *backupFlags) follow(ctx context.Context, b *bus.Bus, host string, req *events.BackupRequest, w *watch) error {
	defer w.show.Close()
	job, err := asker(b).Request(ctx, events.Backup, host, req)
	if err != nil {
		return err
	}
	defer job.Close()
	if w.patience > 0 {
		w.show.Line("no worker serves host %s at this moment; the request waits for one", host)
	}
	if f.detach {
		fmt.Println(job.ID)
		return nil
	}
	return w.run(ctx, job)
}

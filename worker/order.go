package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/state"
)

// order is a job that a command asks for and follows, whatever its kind: from the
// fleet, from the worker that serves the state dir, or from one in this process.
type order struct {
	kind events.Kind
	// request makes the data of the request, for the sink of this name; an empty name
	// stands for the default one. Its errors are wrong usage, as [valid] reports it.
	request func(sink string) (any, error)
	// named are the names in a request that may go to all hosts.
	named []events.Skipped
	orderFlags
}

// orderFlags are the flags of every command that asks for a job.
type orderFlags struct {
	host                            string
	allHosts, anyHost, detach, json bool
	wait                            time.Duration
}

// add adds the flags of a kind: those for all and any hosts only where requests of the
// kind may go there.
func (f *orderFlags) add(fs *pflag.FlagSet, kind events.Kind) {
	fs.StringVar(&f.host, "host", "", "the `HOST` to ask, with --nats")
	if events.MayGo(kind, events.TargetAll) {
		fs.BoolVar(&f.allHosts, "all-hosts", false, "ask all hosts, with --nats; a host that does not have a named container skips it")
	}
	if events.MayGo(kind, events.TargetAny) {
		fs.BoolVar(&f.anyHost, "any-host", false, "ask whichever host is free, with --nats; the sink must be one that they share")
	}
	fs.DurationVar(&f.wait, "wait", time.Minute, "how long to wait for a host to begin where none answers at once")
	fs.BoolVar(&f.detach, "detach", false, "print the job's id and do not wait, with --nats or a running worker")
	fs.BoolVar(&f.json, "json", false, "print the result events, one a line")
}

// valid holds a request against the schema as the worker will.
func valid[T any](r *T, parse func(raw []byte) (*T, error)) (any, error) {
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if _, err := parse(raw); err != nil {
		return nil, &exitError{status: exitUsage, cause: err}
	}
	return r, nil
}

// run asks for the job, and shows it to its end.
func (o *order) run(cmd *cobra.Command) error {
	cfg, log, err := settings(cmd)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	targets := 0
	for _, set := range []bool{o.host != "", o.allHosts, o.anyHost} {
		if set {
			targets++
		}
	}
	switch {
	case targets > 1:
		return usage("--host%s contradict each other: leave one out", o.elsewhere("and"))
	case cfg.NATS.URL != "" && o.allHosts:
		return o.fleet(ctx, cfg, log)
	case cfg.NATS.URL != "":
		return o.remote(ctx, cfg, log)
	case targets > 0:
		return usage("another host can be asked with --nats only")
	}
	n, err := node.Start(ctx, nodeOptions(inProcess(cfg), log))
	if errors.Is(err, state.ErrLocked) {
		return o.local(ctx, cfg, log)
	}
	if err != nil {
		return err
	}
	defer n.Close()
	return o.inProcess(ctx, n, namedSink(cfg))
}

// inProcess makes the settings those of a worker that lives for one command: it allows
// its user every kind of request, every quiesce mode and every bind mount, and tells
// what is away rather than wait.
func inProcess(cfg *config.Config) *config.Config {
	if cfg.Policy.Kinds == nil {
		cfg.Policy.Kinds = slices.Clone(events.Kinds)
	}
	if cfg.Policy.Quiesce == nil {
		cfg.Policy.Quiesce = []events.Quiesce{events.QuiescePause, events.QuiesceNone, events.QuiesceStop}
	}
	if cfg.Policy.Binds == nil {
		cfg.Policy.Binds = []string{"/"}
	}
	cfg.RetryFor = 0
	return cfg
}

// answerWait is how long a worker has to say that it is there.
const answerWait = time.Second

// remote asks a worker of the fleet.
func (o *order) remote(ctx context.Context, cfg *config.Config, log *zap.Logger) error {
	if o.host == "" && !o.anyHost {
		return usage("--nats needs --host%s: who is to be asked?", o.elsewhere("or"))
	}
	req, err := o.request(cfg.Sink)
	if err != nil {
		return err
	}
	b, err := connectConfigured(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer b.Close()
	w := &watch{show: present.New(os.Stdout, os.Stderr, o.json)}
	if o.anyHost {
		return o.follow(ctx, b, client.AnyHost, req, w)
	}
	host := events.HostID(o.host)
	served, err := fleet.Of(b).Served(ctx, host, answerWait)
	if err != nil && !errors.Is(err, bus.ErrDenied) { // who may not ask does without
		return err
	}
	if !served && err == nil {
		w.patience = o.wait
	}
	return o.follow(ctx, b, host, req, w)
}

// elsewhere names the flags that ask others than one host, after a word.
func (o *order) elsewhere(word string) string {
	switch {
	case events.MayGo(o.kind, events.TargetAll):
		return " " + word + " --all-hosts"
	case events.MayGo(o.kind, events.TargetAny):
		return " " + word + " --any-host"
	}
	return ""
}

// local asks the worker that serves the state dir.
func (o *order) local(ctx context.Context, cfg *config.Config, log *zap.Logger) error {
	end, err := state.Find(cfg.StateDir)
	if err != nil {
		return fmt.Errorf("the state dir %s is in use, but its owner cannot be reached: %w", cfg.StateDir, err)
	}
	if cfg.Sink != "" && !cfg.NamesSink() {
		return usage("--sink cannot be a location while a worker serves %s: it stores to %s", cfg.StateDir, end.Sink)
	}
	req, err := o.request(namedSink(cfg))
	if err != nil {
		return err
	}
	b, err := connectTo(ctx, end, log)
	if err != nil {
		return err
	}
	defer b.Close()
	return o.follow(ctx, b, end.Host, req, &watch{show: present.New(os.Stdout, os.Stderr, o.json)})
}

// inProcess runs a worker for just this request.
func (o *order) inProcess(ctx context.Context, n *node.Node, sink string) error {
	if o.detach {
		return usage("--detach needs a worker that goes on: start holdfast serve, or use --nats")
	}
	req, err := o.request(sink)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	// The worker ends when the job has, not at Ctrl-C: that cancels the job.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	var failure error
	running.Go(func() { failure = n.Run(work) })
	err = o.follow(ctx, n.Bus, n.Host, req, &watch{show: present.New(os.Stdout, os.Stderr, o.json), own: true})
	stop()
	running.Wait()
	return errors.Join(err, failure)
}

// follow publishes the request, and watches its job.
func (o *order) follow(ctx context.Context, b *bus.Bus, host string, req any, w *watch) error {
	defer w.show.Close()
	job, err := asker(b).Request(ctx, o.kind, host, req)
	if err != nil {
		return err
	}
	defer job.Close()
	if w.patience > 0 {
		w.show.Line("no worker serves host %s at this moment; the request waits for one", host)
	}
	if o.detach {
		fmt.Println(job.ID)
		return nil
	}
	return w.run(ctx, job)
}

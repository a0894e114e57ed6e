package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/present"
)

// fleet asks all hosts, and shows the jobs of those that are served.
func (o *order) fleet(ctx context.Context, cfg *config.Config, log *zap.Logger) error {
	req, err := o.request(cfg.Sink)
	if err != nil {
		return err
	}
	b, err := connectConfigured(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer b.Close()
	r, err := rollCall(ctx, b, answerWait)
	if err != nil {
		return err
	}
	served, absent := r.serving(), r.absent()
	if len(served)+len(absent) == 0 {
		return errors.New("no host is enrolled here: start holdfast serve on one")
	}
	following, err := asker(b).RequestAll(ctx, o.kind, served, req)
	if err != nil {
		return err
	}
	defer following.Close()
	for _, host := range absent {
		fmt.Fprintf(os.Stderr, "%s: no worker serves it at this moment; the request waits for one until it expires\n", present.Escape(host))
	}
	if o.detach {
		for _, job := range following.Jobs {
			fmt.Println(job.ID, job.Host)
		}
		return nil
	}
	w := &fleetWatch{wait: o.wait, following: following, tally: present.NewTally(o.named), open: map[string]*hostJob{}}
	for _, job := range following.Jobs {
		w.open[job.Host] = &hostJob{id: job.ID, show: present.NewForHost(os.Stdout, os.Stderr, o.json, job.Host)}
	}
	if err := w.run(ctx); err != nil {
		return err
	}
	for _, name := range w.tally.FoundNowhere() {
		fmt.Fprintf(os.Stderr, "found on no host that answered: %s %s\n", name.Kind, present.Escape(name.Name))
	}
	return exitFor(w.tally.Outcome(len(absent)))
}

// absent returns the hosts that are known and that no worker serves, sorted.
func (r roll) absent() []string {
	hosts := slices.Clone(r.silent)
	served := r.serving()
	for _, s := range r.answers {
		if !slices.Contains(served, s.Host) {
			hosts = append(hosts, s.Host)
		}
	}
	slices.Sort(hosts)
	return slices.Compact(hosts)
}

// fleetWatch shows the jobs of several hosts to their ends.
type fleetWatch struct {
	wait      time.Duration // for a host to begin
	following *client.Subscription
	tally     *present.Tally
	open      map[string]*hostJob // the jobs that have not ended, by host
}

// hostJob is the job of one host.
type hostJob struct {
	id    string
	show  *present.Presenter
	begun bool
}

// run returns when every job has ended, or is not waited for any more. The error
// is that the events do not come, or that the user ends it.
func (w *fleetWatch) run(ctx context.Context) error {
	waiting, stop := context.WithTimeoutCause(ctx, w.wait, errWaited)
	defer stop()
	for len(w.open) > 0 {
		r, err := w.following.Next(waiting)
		if err == nil {
			err = r.Err
		}
		switch {
		case errors.Is(err, errWaited):
			waiting = ctx
			w.giveUp()
			continue
		case err != nil && ctx.Err() != nil:
			fmt.Fprintf(os.Stderr, "detached: the jobs go on at %s\n", present.Escape(strings.Join(sortedKeys(w.open), ", ")))
			return &exitError{status: exitCancelled}
		case err != nil:
			return err
		}
		if err := w.heard(r); err != nil {
			return err
		}
	}
	return nil
}

// heard shows an event, and enters it in the tally.
func (w *fleetWatch) heard(r client.Report) error {
	job := w.open[r.Job.Host]
	if job == nil { // given up
		return nil
	}
	job.begun = true
	if err := w.tally.Add(r.Event); err != nil {
		return err
	}
	outcome, err := job.show.Event(r.Event)
	if err != nil {
		return err
	}
	if outcome != present.Running {
		w.tally.Ended(outcome)
		delete(w.open, r.Job.Host)
	}
	return nil
}

// giveUp waits no more for the hosts that have not begun.
func (w *fleetWatch) giveUp() {
	for _, host := range sortedKeys(w.open) {
		if job := w.open[host]; !job.begun {
			job.show.Line("has not begun within %s; it may be busy, and job %s goes on by itself", w.wait, job.id)
			w.tally.Silent()
			delete(w.open, host)
		}
	}
}

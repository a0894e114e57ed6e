package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/cloudevents/sdk-go/v2/event"
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/present"
)

func cancelCommand() *cobra.Command {
	var host string
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "cancel JOB",
		Short: "Cancel a job, and say how it ended",
		Long: `Cancel a job. Its host lets go of it, undoes what was begun, and keeps what is
stored already. Without --host, with --nats, all hosts are asked. The exit status
is 0 if the job ended cancelled, 1 if it ended in another way, and 3 if no end of
it was seen.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			raw, err := json.Marshal(events.CancelRequest{Job: args[0]})
			if err != nil {
				return err
			}
			if _, err := events.ParseCancelRequest(raw); err != nil {
				return &exitError{status: exitUsage, cause: err}
			}
			cfg, log, err := settings(cmd)
			if err != nil {
				return err
			}
			if host != "" && cfg.NATS.URL == "" {
				return usage("--host needs --nats: without it only this host can be asked")
			}
			ctx := cmd.Context()
			b, own, err := reach(ctx, cfg, log)
			if err != nil {
				return err
			}
			defer b.Close()
			at := client.AnyHost
			switch {
			case own != "":
				at = own
			case host != "":
				at = events.HostID(host)
			}
			f, err := asker(b).Cancel(ctx, at, args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			words, err := awaitCancelled(ctx, f, args[0], wait)
			fmt.Fprintln(cmd.OutOrStdout(), present.Escape(words))
			return err
		},
	}
	cmd.Flags().StringVar(&host, "host", "", "the `HOST` that has the job, with --nats (default all are asked)")
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait for the job's end")
	return cmd
}

// awaitCancelled waits for the job's end, and returns it in words and as an exit
// status.
func awaitCancelled(ctx context.Context, f *client.Subscription, job string, wait time.Duration) (words string, err error) {
	ctx, stop := context.WithTimeoutCause(ctx, wait, errWaited)
	defer stop()
	for {
		r, err := f.Next(ctx)
		if err == nil {
			err = r.Err
		}
		switch {
		case errors.Is(err, errWaited):
			words = fmt.Sprintf("no end of job %s was seen within %s: its host may not be served at this moment, or the id is wrong", job, wait)
			return words, &exitError{status: exitPartial}
		case err != nil && ctx.Err() != nil:
			return fmt.Sprintf("not waiting any more; the request to cancel job %s stands", job), &exitError{status: exitCancelled}
		case err != nil:
			return fmt.Sprintf("the end of job %s cannot be seen", job), err
		case events.Terminal(r.Event.Type()):
			words, cancelled := endOf(r.Event)
			if !cancelled {
				return words, &exitError{status: exitFailed}
			}
			return words, nil
		}
	}
}

// endOf says in words how a job ended, or why its cancellation was rejected, and
// whether it was cancelled.
func endOf(ev event.Event) (words string, cancelled bool) {
	if ev.Type() == events.TypeRequestRejected {
		var d events.RequestRejected
		if err := ev.DataAs(&d); err != nil {
			return fmt.Sprintf("read event %s: %v", ev.Type(), err), false
		}
		return fmt.Sprintf("host %s rejected it (%s): %s", d.Host, d.Reason, present.Violations(d.Errors)), false
	}
	switch events.ResultOf(ev.Type()) {
	case events.ResultCompleted, events.ResultFailed:
		var d events.Ended
		if err := ev.DataAs(&d); err != nil {
			return fmt.Sprintf("read event %s: %v", ev.Type(), err), false
		}
		words = fmt.Sprintf("job %s on host %s ended %s", d.Job, d.Host, d.Status)
		if d.Status != events.StatusCancelled {
			words += ", not cancelled"
		}
		return fmt.Sprintf("%s: %d %s, %d failed, %d cancelled, %d not begun", words,
				d.Counts.Completed, present.Done(events.KindOf(ev.Type())), d.Counts.Failed, d.Counts.Cancelled, d.Counts.Skipped),
			d.Status == events.StatusCancelled
	default:
		return fmt.Sprintf("job %v ended as %s, not cancelled", ev.Extensions()[events.ExtJobID], events.Short(ev.Type())), false
	}
}

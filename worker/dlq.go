package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/bus/read"
	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/present"
)

func dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dlq",
		Short: "Look at requests that were refused, and ask once more",
		Long: `A request that cannot be carried out at all is refused, and kept as a dead letter
with the reason.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return usage("say what: list, show or replay; see '%s --help'", cmd.CommandPath())
		},
	}
	cmd.AddCommand(dlqListCommand(), dlqShowCommand(), dlqReplayCommand())
	return cmd
}

func dlqListCommand() *cobra.Command {
	var asJSON bool
	var host string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the dead letters, the oldest first",
		RunE: func(cmd *cobra.Command, _ []string) error {
			b, err := reached(cmd)
			if err != nil {
				return err
			}
			defer b.Close()
			of := client.AnyHost
			if host != "" {
				of = events.HostID(host)
			}
			t := present.NewTable("SEQ", "TIME", "HOST", "REASON", "TYPE", "ID", "ERROR")
			for l, err := range read.DeadLetters(cmd.Context(), b, of) {
				switch {
				case err != nil:
					return err
				case asJSON:
					printLetter(cmd.OutOrStdout(), l, false)
				default:
					t.AppendRow(letterRow(l))
				}
			}
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), t.Render())
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the letters, one object a line")
	cmd.Flags().StringVar(&host, "host", "", "only letters of `HOST`")
	return cmd
}

func dlqShowCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show SEQ",
		Short: "Show a dead letter with all that it holds, as JSON",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, l, err := findLetter(cmd, args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			printLetter(cmd.OutOrStdout(), l, true)
			return nil
		},
	}
}

func dlqReplayCommand() *cobra.Command {
	var detach, asJSON bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "replay SEQ",
		Short: "Publish the request of a dead letter once more",
		Long: `Publish the request of a dead letter once more: the same data on the same subject,
with an id of its own and the old correlation id. Its expiry is left out.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			b, l, err := findLetter(cmd, args[0])
			if err != nil {
				return err
			}
			defer b.Close()
			ctx := cmd.Context()
			served, err := fleet.Of(b).Served(ctx, l.Host, answerWait)
			askable := !errors.Is(err, bus.ErrDenied) // who may not ask does without
			if err != nil && askable {
				return err
			}
			job, err := asker(b).Replay(ctx, l.Host, l.DeadLetter)
			if err != nil {
				return fmt.Errorf("replay dead letter %d: %w", l.Sequence, err)
			}
			defer job.Close()
			w := &watch{show: present.New(os.Stdout, os.Stderr, asJSON)}
			defer w.show.Close()
			w.show.Line("request %s, job %s", job.Request, job.ID)
			if !served && askable {
				w.show.Line("no worker serves host %s at this moment; the request waits for one", l.Host)
				w.patience = wait
			}
			// A cancellation that is heard has no event of its own.
			if kind, _, err := events.ParseRequestSubject(l.Subject); detach || err != nil || kind == events.Cancel {
				return nil
			}
			return w.run(ctx, job)
		},
	}
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait for the job")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result events, one a line")
	cmd.Flags().DurationVar(&wait, "wait", time.Minute, "how long to wait for a host that no worker serves")
	return cmd
}

// reached connects to the server that a command means.
func reached(cmd *cobra.Command) (*bus.Bus, error) {
	cfg, log, err := settings(cmd)
	if err != nil {
		return nil, err
	}
	b, _, err := reach(cmd.Context(), cfg, log)
	return b, err
}

// findLetter connects, and reads the letter that an argument names.
func findLetter(cmd *cobra.Command, sequence string) (*bus.Bus, read.Letter, error) {
	seq, err := strconv.ParseUint(sequence, 10, 64)
	if err != nil || seq == 0 {
		return nil, read.Letter{}, usage("%q is no number of a dead letter; 'holdfast dlq list' shows them", sequence)
	}
	b, err := reached(cmd)
	if err != nil {
		return nil, read.Letter{}, err
	}
	l, err := read.DeadLetter(cmd.Context(), b, seq)
	if err != nil {
		_ = b.Close()
		return nil, l, err
	}
	return b, l, nil
}

// letterRow is one line of the list. Type and id are those that could be read.
func letterRow(l read.Letter) table.Row {
	ev, err := events.Decode(l.Headers, l.Body)
	if bad, ok := errors.AsType[*events.MalformedError](err); ok {
		ev = bad.Event
	}
	first := ""
	if len(l.Errors) > 0 {
		first = present.Violations(l.Errors[:1])
	}
	return table.Row{l.Sequence, l.Time.Local().Format(time.DateTime), present.Escape(l.Host), present.Escape(string(l.Reason)),
		present.Escape(ev.Type()), present.Escape(ev.ID()), present.Escape(first)}
}

// shownLetter is a letter as it is printed: with where it lies, and with the body
// as text where it is that.
type shownLetter struct {
	Letter uint64 `json:"letter"`
	Host   string `json:"host"`
	events.DeadLetter
	Text string `json:"text,omitempty"`
}

func printLetter(w io.Writer, l read.Letter, indented bool) {
	enc := json.NewEncoder(w)
	if indented {
		enc.SetIndent("", "  ")
	}
	s := shownLetter{Letter: l.Sequence, Host: l.Host, DeadLetter: l.DeadLetter}
	if json.Valid(l.Body) {
		s.Text = string(l.Body)
	}
	_ = enc.Encode(s) // of types that JSON can hold
}

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/fleet"
	"holdfast.io/holdfast/internal/present"
)

func hostsCommand() *cobra.Command {
	var asJSON bool
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "hosts",
		Short: "List the hosts, who serves them, and how busy they are",
		Long: `List the hosts that are enrolled: whether a worker serves them, since when, and how
busy it is. A host that does not answer is silent, and makes the exit status 3.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(cmd)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			b, _, err := reach(ctx, cfg, log)
			if err != nil {
				return err
			}
			defer b.Close()
			r, err := rollCall(ctx, b, wait)
			if err != nil {
				return err
			}
			if asJSON {
				r.printJSON(cmd.OutOrStdout())
			} else {
				fmt.Fprintln(cmd.OutOrStdout(), r.table())
			}
			if r.unlisted {
				fmt.Fprintln(cmd.ErrOrStderr(), "the enrolled hosts may not be listed here: a host that does not answer is not shown")
			}
			if len(r.silent) > 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s did not answer within %s\n", present.Count(len(r.silent), "host"), wait)
				return &exitError{status: exitPartial}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the hosts, one object a line")
	cmd.Flags().DurationVar(&wait, "wait", time.Second, "how long to wait for answers")
	return cmd
}

// roll is what a roll call came to.
type roll struct {
	answers []events.HostStatus
	silent  []string // hosts that are enrolled and did not answer, sorted
	// unlisted is set if the permissions do not let the enrolled hosts be listed.
	unlisted bool
}

// rollCall asks all enrolled hosts how they are.
func rollCall(ctx context.Context, b *bus.Bus, wait time.Duration) (roll, error) {
	var r roll
	enrolled, err := fleet.Of(b).Enrolled(ctx)
	switch {
	case errors.Is(err, bus.ErrDenied):
		r.unlisted = true
	case err != nil:
		return r, err
	case len(enrolled) == 0:
		return r, nil
	}
	if r.answers, err = fleet.Of(b).Hosts(ctx, enrolled, wait); err != nil {
		return r, err
	}
	for _, host := range enrolled {
		if !slices.ContainsFunc(r.answers, func(s events.HostStatus) bool { return s.Host == host }) {
			r.silent = append(r.silent, host)
		}
	}
	return r, nil
}

// serving returns the hosts that a worker serves, each once and sorted.
func (r roll) serving() []string {
	var hosts []string
	for _, s := range r.answers {
		if s.Role == events.RoleServing {
			hosts = append(hosts, s.Host)
		}
	}
	return slices.Compact(hosts)
}

// stateSilent is the state of a host that does not answer.
const stateSilent = "silent"

func (r roll) table() string {
	t := present.NewTable("HOST", "STATE", "SINCE", "BUSY", "VERSION", "ENGINE", "SINKS")
	answers := r.answers
	row := func(s events.HostStatus) {
		t.AppendRow(table.Row{present.Escape(s.Host), present.Escape(string(s.Role)), s.Since.Local().Format(time.DateTime),
			fmt.Sprintf("%d/%d", s.Busy, s.Slots), present.Escape(s.Version),
			present.Escape(strings.TrimSpace(s.Engine.Version + " " + s.Engine.Store)), present.Escape(strings.Join(s.Sinks, ", "))})
	}
	for _, host := range r.silent {
		for len(answers) > 0 && answers[0].Host < host {
			row(answers[0])
			answers = answers[1:]
		}
		t.AppendRow(table.Row{present.Escape(host), stateSilent})
	}
	for _, s := range answers {
		row(s)
	}
	return t.Render()
}

func (r roll) printJSON(w io.Writer) {
	for _, s := range r.answers {
		raw, _ := json.Marshal(s)
		fmt.Fprintln(w, string(raw))
	}
	for _, host := range r.silent {
		raw, _ := json.Marshal(map[string]string{"host": host, "role": stateSilent})
		fmt.Fprintln(w, string(raw))
	}
}

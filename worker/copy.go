package main

import (
	"cmp"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
)

// copyFlags are the flags of holdfast copy.
type copyFlags struct {
	pointFlags
	hosts                []string
	from, to, timeout    string
	dryRun, abortOnError bool
	orderFlags
}

func copyCommand() *cobra.Command {
	var f copyFlags
	cmd := &cobra.Command{
		Use:   "copy [POINT|CONTAINER...] --to SINK",
		Short: "Copy recovery points from one sink to another",
		Long: `Copy recovery points from one sink to another: points by their ids, all points of
containers by name, or with --all whatever the sink holds. Only what is missing is copied,
the newest first, and every stored byte is proven on the way. A point appears in the other
sink whole or not at all; a copy that was broken off is taken up by running it again.

A copy is the same point: its id, its times and its tags are those of the original, and it
is protected if that is. Removed points are not copied. What is encrypted stays encrypted;
where the other sink has recipients, what was in clear is encrypted for them.

SINK is a name in the configuration of the worker.`,
		Example: `  holdfast copy --all --from local --to offsite
  holdfast copy web-1 --to offsite --dry-run
  holdfast copy 20261122T222558Z-1a0b5fe3 --from offsite --to local`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o := order{kind: events.Copy, orderFlags: f.orderFlags}
			o.request = func(sink string) (any, error) { return f.request(cmd, args, cmp.Or(f.from, sink)) }
			return o.run(cmd)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.from, "from", "", "the `SINK` to copy from (default \"default\")")
	fs.StringVar(&f.to, "to", "", "the `SINK` to copy to")
	f.pointFlags.add(fs)
	fs.StringArrayVar(&f.hosts, "of-host", nil, "only points of `HOST` (repeatable; default all; never narrows ids)")
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first point that fails")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be copied, and why")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 6h")
	f.orderFlags.add(fs, events.Copy)
	return cmd
}

// request makes the request that the flags and arguments stand for.
func (f *copyFlags) request(cmd *cobra.Command, args []string, from string) (any, error) {
	r := &events.CopyRequest{Hosts: f.hosts, From: from, To: f.to, AbortOnError: f.abortOnError, Timeout: f.timeout, DryRun: f.dryRun}
	if f.to == "" {
		return nil, usage("where to? --to names a sink of the configuration")
	}
	var err error
	if r.Points, err = f.ids(args, func(prefix string) (string, error) { return fullID(cmd, from, prefix) }); err != nil {
		return nil, err
	}
	if r.Containers, r.Images, r.Volumes, err = f.selectors(args); err != nil {
		return nil, err
	}
	return valid(r, events.ParseCopyRequest)
}

package main

import (
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
)

// verifyFlags are the flags of holdfast verify.
type verifyFlags struct {
	pointFlags
	from                     []string
	dryRun, abortOnError     bool
	level, sample, olderThan string
	timeout                  string
	orderFlags
}

func verifyCommand() *cobra.Command {
	var f verifyFlags
	cmd := &cobra.Command{
		Use:   "verify [POINT|CONTAINER...]",
		Short: "Prove that recovery points are what was stored",
		Long: `Prove that recovery points are what was stored: points by their ids, or all points of
containers by name. What came of it lies beside each point as verified.json, and
'holdfast list' shows it.

The levels:
  quick  the manifest is one, belongs where it lies, and all objects are there in their sizes
  full   every byte matches its digest, and the image, its layers and the volumes are whole
  drill  and the image is loaded, a container without network and volumes started of it, and
         both removed again: it must run for 10 s, or be healthy if it has a health check

A point that fails is reported with what of it can still be saved.`,
		Example: `  holdfast verify --all
  holdfast verify web-1 --level drill
  holdfast verify --all --sample 10% --older-than 30d
  holdfast verify 20261122T222558Z-1a0b5fe3`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o := order{kind: events.Verify, orderFlags: f.orderFlags}
			o.request = func(sink string) (any, error) { return f.request(cmd, args, sink) }
			return o.run(cmd)
		},
	}
	fs := cmd.Flags()
	f.pointFlags.add(fs)
	fs.StringArrayVar(&f.from, "from", nil, "only points of `HOST` (repeatable; default all; never narrows ids)")
	fs.StringVar(&f.level, "level", "", "how much is looked at: quick, full or drill (default full)")
	fs.StringVar(&f.sample, "sample", "", "only `PART` of the points that are found, such as 10%: those that were not verified for longest")
	fs.StringVar(&f.olderThan, "older-than", "", "only points that were not verified for `AGE`, such as 30d")
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first point that fails")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be verified, and why")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 2h")
	f.orderFlags.add(fs, events.Verify)
	return cmd
}

// request makes the request that the flags and arguments stand for.
func (f *verifyFlags) request(cmd *cobra.Command, args []string, sink string) (any, error) {
	r := &events.VerifyRequest{
		Hosts: f.from, Sink: sink, Level: events.VerifyLevel(f.level), Sample: f.sample, AbortOnError: f.abortOnError,
		Timeout: f.timeout, DryRun: f.dryRun,
	}
	var err error
	if r.OlderThan, err = goDuration("--older-than", f.olderThan); err != nil {
		return nil, err
	}
	if r.Points, err = f.ids(args, func(prefix string) (string, error) { return fullID(cmd, "", prefix) }); err != nil {
		return nil, err
	}
	if r.Containers, r.Images, r.Volumes, err = f.selectors(args); err != nil {
		return nil, err
	}
	return valid(r, events.ParseVerifyRequest)
}

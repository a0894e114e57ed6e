package main

import (
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
)

// pruneFlags are the flags of holdfast prune.
type pruneFlags struct {
	keep                           events.Keep
	within, grace, timeout         string
	from                           []string
	containers, images, volumes    []string
	dryRun, abortOnError, graceSet bool
	orderFlags
}

func pruneCommand() *cobra.Command {
	var f pruneFlags
	cmd := &cobra.Command{
		Use:   "prune --keep-…",
		Short: "Remove the recovery points that no rule keeps",
		Long: `Remove the recovery points that no rule keeps. The rules are counted for each container,
image and volume of each host by itself, in the times at which backups were asked for, and
only periods that have points are counted. A point stays if any rule keeps it.

Never removed are: what is protected or in use, the newest point, and the newest that
passed verification. Nothing is removed of what is suspicious: the newest point failed its
verification, or has less than half of its usual size.

A removed point is hidden at once. Its bytes go with the first prune after the grace;
until then 'holdfast unprune' takes it back.`,
		Example: `  holdfast prune --keep-daily 7 --keep-weekly 4 --keep-monthly 12 --dry-run
  holdfast prune --keep-last 3 --keep-tag reason=pre-deploy --container web-1
  holdfast prune --keep-within 30d --grace 7d`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.graceSet = cmd.Flags().Changed("grace")
			o := order{kind: events.Prune, orderFlags: f.orderFlags, request: f.request}
			return o.run(cmd)
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&f.keep.Last, "keep-last", 0, "keep the newest `N` points")
	fs.IntVar(&f.keep.Hourly, "keep-hourly", 0, "keep the newest point of each of the last `N` hours that have one")
	fs.IntVar(&f.keep.Daily, "keep-daily", 0, "the same of days")
	fs.IntVar(&f.keep.Weekly, "keep-weekly", 0, "the same of weeks (ISO 8601)")
	fs.IntVar(&f.keep.Monthly, "keep-monthly", 0, "the same of months")
	fs.IntVar(&f.keep.Yearly, "keep-yearly", 0, "the same of years")
	fs.StringVar(&f.within, "keep-within", "", "keep what is at most `AGE` older than the newest point, such as 48h or 30d")
	fs.StringArrayVar(&f.keep.Tags, "keep-tag", nil, "keep what has the tag `K[=V]` (repeatable)")
	fs.StringArrayVar(&f.from, "from", nil, "only points of `HOST` (repeatable; default all)")
	fs.StringArrayVar(&f.containers, "container", nil, "only points of the container `NAME` (repeatable; default all)")
	fs.StringArrayVar(&f.images, "image", nil, "only points of the image `NAME` (repeatable)")
	fs.StringArrayVar(&f.volumes, "volume", nil, "only points of the volume `NAME` (repeatable)")
	fs.StringVar(&f.grace, "grace", "24h", "how long a removed point can be taken back, such as 24h or 7d; with 0s the bytes go at once")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be removed, and why each point stays or goes")
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first error")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 30m")
	f.add(fs, events.Prune)
	return cmd
}

// request makes the request that the flags stand for.
func (f *pruneFlags) request(sink string) (any, error) {
	r := &events.PruneRequest{Sink: sink, Hosts: f.from, Keep: f.keep, Timeout: f.timeout, DryRun: f.dryRun, AbortOnError: f.abortOnError}
	for _, s := range []struct {
		into  **events.ItemSelector
		names []string
	}{{&r.Containers, f.containers}, {&r.Images, f.images}, {&r.Volumes, f.volumes}} {
		if len(s.names) > 0 {
			*s.into = &events.ItemSelector{Names: s.names}
		}
	}
	var err error
	if r.Keep.Within, err = goDuration("--keep-within", f.within); err != nil {
		return nil, err
	}
	if f.graceSet {
		if r.Grace, err = goDuration("--grace", f.grace); err != nil {
			return nil, err
		}
	}
	if keepsNothing(r.Keep) {
		return nil, usage("nothing is kept: say what stays, with --keep-last, --keep-daily or another --keep flag")
	}
	return valid(r, events.ParsePruneRequest)
}

// keepsNothing reports whether no rule was given at all; one that makes no sense is left
// to the schema.
func keepsNothing(k events.Keep) bool {
	return k.Last|k.Hourly|k.Daily|k.Weekly|k.Monthly|k.Yearly == 0 && k.Within == "" && len(k.Tags) == 0
}

// goDuration reads a flag as [parseAge] does, and writes it as requests have it.
func goDuration(flag, text string) (string, error) {
	if text == "" {
		return "", nil
	}
	d, err := parseAge(text)
	if err != nil {
		return "", usage("%s: %w", flag, err)
	}
	return d.String(), nil
}

package main

import (
	"regexp"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
)

// verifyFlags are the flags of holdfast verify.
type verifyFlags struct {
	match, images, volumes, from []string
	all, dryRun, abortOnError    bool
	level, sample, olderThan     string
	timeout                      string
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
	fs.StringArrayVar(&f.match, "match", nil, "points of containers whose name matches `RE` (RE2, unanchored; repeatable)")
	fs.StringArrayVar(&f.images, "image", nil, "points of the image `NAME` (repeatable)")
	fs.StringArrayVar(&f.volumes, "volume", nil, "points of the volume `NAME` (repeatable)")
	fs.BoolVar(&f.all, "all", false, "all points of containers, images and volumes")
	fs.StringArrayVar(&f.from, "from", nil, "only points of `HOST` (repeatable; default all; never narrows ids)")
	fs.StringVar(&f.level, "level", "", "how much is looked at: quick, full or drill (default full)")
	fs.StringVar(&f.sample, "sample", "", "only `PART` of the points that are found, such as 10%: those that were not verified for longest")
	fs.StringVar(&f.olderThan, "older-than", "", "only points that were not verified for `AGE`, such as 30d")
	fs.BoolVar(&f.abortOnError, "abort-on-error", false, "end at the first point that fails")
	fs.BoolVar(&f.dryRun, "dry-run", false, "only say what would be verified, and why")
	fs.StringVar(&f.timeout, "timeout", "", "give up after `DURATION`, such as 2h")
	f.add(fs, events.Verify)
	return cmd
}

// Arguments that are ids of points, and that are at least the beginning of one: with a
// date and a time, which no Engine gives a container.
var (
	pointID     = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)
	pointPrefix = regexp.MustCompile(`^[0-9]{8}T[0-9Z]*(-[0-9a-f]*)?$`)
)

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
	containers := events.ItemSelector{Match: f.match, All: f.all}
	for _, arg := range args {
		switch {
		case pointID.MatchString(arg):
			r.Points = append(r.Points, arg)
		case pointPrefix.MatchString(arg):
			id, err := fullID(cmd, arg)
			if err != nil {
				return nil, err
			}
			r.Points = append(r.Points, id)
		default:
			containers.Names = append(containers.Names, arg)
		}
	}
	for _, s := range []struct {
		into **events.ItemSelector
		of   events.ItemSelector
	}{
		{&r.Containers, containers},
		{&r.Images, events.ItemSelector{Names: f.images, All: f.all}},
		{&r.Volumes, events.ItemSelector{Names: f.volumes, All: f.all}},
	} {
		if len(s.of.Names)+len(s.of.Match) > 0 || s.of.All {
			*s.into = &s.of
		}
	}
	if r.Points == nil && r.Containers == nil && r.Images == nil && r.Volumes == nil {
		return nil, usage("nothing is selected: name points or containers, or use --match, --image, --volume or --all")
	}
	return valid(r, events.ParseVerifyRequest)
}

// fullID returns the id of the one point whose id begins so. It needs the sink to be
// readable here.
func fullID(cmd *cobra.Command, prefix string) (string, error) {
	s, location, err := readSink(cmd)
	if err != nil {
		return "", err
	}
	e, err := point.FindByID(cmd.Context(), s, prefix)
	if err != nil {
		return "", usage("%w (in the sink %s; 'holdfast list' shows its points)", err, location)
	}
	return e.ID(), nil
}

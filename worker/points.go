package main

import (
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
)

// pointFlags are the flags of commands that work on points: with the arguments they say
// on which.
type pointFlags struct {
	match, images, volumes []string
	all                    bool
}

func (f *pointFlags) add(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.match, "match", nil, "points of containers whose name matches `RE` (RE2, unanchored; repeatable)")
	fs.StringArrayVar(&f.images, "image", nil, "points of the image `NAME` (repeatable)")
	fs.StringArrayVar(&f.volumes, "volume", nil, "points of the volume `NAME` (repeatable)")
	fs.BoolVar(&f.all, "all", false, "all points of containers, images and volumes")
}

// Arguments that are ids of points, and that are at least the beginning of one: with a
// date and a time, which no Engine gives a container.
var (
	pointID     = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$`)
	pointPrefix = regexp.MustCompile(`^[0-9]{8}T[0-9Z]*(-[0-9a-f]*)?$`)
)

// ids returns the points among the arguments; full returns the id of one that is
// shortened.
func (f *pointFlags) ids(args []string, full func(prefix string) (string, error)) (ids []string, err error) {
	for _, arg := range args {
		if !pointPrefix.MatchString(arg) {
			continue
		}
		if !pointID.MatchString(arg) {
			if arg, err = full(arg); err != nil {
				return nil, err
			}
		}
		ids = append(ids, arg)
	}
	return ids, nil
}

// selectors returns what the flags and the other arguments select. It is wrong usage if
// that is nothing, and no argument is a point.
func (f *pointFlags) selectors(args []string) (containers, images, volumes *events.ItemSelector, err error) {
	var names []string
	for _, arg := range args {
		if !pointPrefix.MatchString(arg) {
			names = append(names, arg)
		}
	}
	of := func(s events.ItemSelector) *events.ItemSelector {
		if len(s.Names)+len(s.Match) == 0 && !s.All {
			return nil
		}
		return &s
	}
	containers = of(events.ItemSelector{Names: names, Match: f.match, All: f.all})
	images = of(events.ItemSelector{Names: f.images, All: f.all})
	volumes = of(events.ItemSelector{Names: f.volumes, All: f.all})
	if containers == nil && images == nil && volumes == nil && len(args) == 0 {
		err = usage("nothing is selected: name points or containers, or use --match, --image, --volume or --all")
	}
	return containers, images, volumes, err
}

// fullID returns the id of the one point in a sink whose id begins so; an empty name
// stands for the sink that the command means. It needs the sink to be readable here.
func fullID(cmd *cobra.Command, sink, prefix string) (string, error) {
	s, location, err := readSinkOf(cmd, sink)
	if err != nil {
		return "", err
	}
	e, err := point.FindByID(cmd.Context(), s, prefix)
	if err != nil {
		return "", usage("%w (in the sink %s; 'holdfast list' shows its points)", err, location)
	}
	return e.ID(), nil
}

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/sink"
)

// listFlags are the flags of list, as they are given.
type listFlags struct {
	host, kind, since, until string
	tags                     []string
	removed, json            bool
}

func listCommand() *cobra.Command {
	var f listFlags
	cmd := &cobra.Command{
		Use:   "list [NAME...]",
		Short: "List the recovery points in a sink",
		Long: `List the recovery points in a sink: all, or those of the containers, images and
volumes with these names or ids. A time T is one of RFC 3339, or how long ago, such
as 30d or 12h. A point that cannot be read is listed as damaged, and the exit status
is 1 then.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, names []string) error {
			filter, err := f.filter(names, time.Now())
			if err != nil {
				return err
			}
			s, location, err := readSink(cmd)
			if err != nil {
				return err
			}
			l := listing{cmd: cmd, filter: filter, removed: f.removed, json: f.json, named: map[string]bool{}}
			l.table = present.NewTable("TIME", "HOST", "KIND", "NAME", "SIZE", "VOLUMES", "VERIFIED", "STATUS", "NOT INCLUDED", "POINT")
			l.table.SuppressEmptyColumns()
			for e, err := range point.List(cmd.Context(), s, sink.PointsName) {
				if err != nil {
					return err
				}
				if err := l.add(e); err != nil {
					return err
				}
			}
			return l.end(location)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.host, "host", "", "only points of this `HOST`")
	flags.StringVar(&f.kind, "kind", "", "only points of this `KIND`: container, image or volume")
	flags.StringVar(&f.since, "since", "", "only points that show the time `T` or a later one")
	flags.StringVar(&f.until, "until", "", "only points that show the time `T` or an earlier one")
	flags.StringArrayVar(&f.tags, "tag", nil, "only points with this tag, `K=V` or K; may be repeated")
	flags.BoolVar(&f.removed, "removed", false, "only points that were removed, and can still be taken back")
	flags.BoolVar(&f.json, "json", false, "print manifest and marks, one point a line")
	return cmd
}

// pointFilter says which points are listed. Empty members narrow nothing.
type pointFilter struct {
	names        []string
	host, kind   string
	since, until time.Time
	tags         []string
}

func (f *listFlags) filter(names []string, now time.Time) (pointFilter, error) {
	p := pointFilter{names: names, host: f.host, kind: f.kind, tags: f.tags}
	switch events.ItemKind(f.kind) {
	case "", events.ItemContainer, events.ItemImage, events.ItemVolume:
	default:
		return p, usage("--kind %s: it is container, image or volume", f.kind)
	}
	var err error
	if p.since, err = parseMoment(f.since, now); err != nil {
		return p, usage("--since: %w", err)
	}
	if p.until, err = parseMoment(f.until, now); err != nil {
		return p, usage("--until: %w", err)
	}
	if !p.since.IsZero() && !p.until.IsZero() && p.until.Before(p.since) {
		return p, usage("--until is before --since")
	}
	return p, nil
}

// named returns which of the names mean an item.
func (f *pointFilter) named(item events.Item) (names []string) {
	for _, name := range f.names {
		if point.IsNamed(item, name) {
			names = append(names, name)
		}
	}
	return names
}

// takes reports whether a point of this item is listed that shows this moment.
func (f *pointFilter) takes(host string, item events.Item, shows time.Time) bool {
	switch {
	case f.host != "" && f.host != host, f.kind != "" && f.kind != string(item.Kind):
		return false
	case !f.since.IsZero() && shows.Before(f.since), !f.until.IsZero() && shows.After(f.until):
		return false
	}
	return true
}

// hasTags reports whether all tags are there, each K or K=V.
func (f *pointFilter) hasTags(tags map[string]string) bool {
	for _, want := range f.tags {
		key, value, exact := strings.Cut(want, "=")
		if got, there := tags[key]; !there || exact && got != value {
			return false
		}
	}
	return true
}

// listing is one run of list.
type listing struct {
	cmd           *cobra.Command
	filter        pointFilter
	removed, json bool
	table         table.Writer
	rows          int
	named         map[string]bool // which names have a point in the sink
	damaged       int             // points that cannot be read
	marks         int             // marks that cannot be read
}

// add lists a point if the filter takes it.
func (l *listing) add(e point.Entry) error {
	item, host, shows := about(e)
	names := l.filter.named(item)
	for _, name := range names {
		l.named[name] = true
	}
	switch {
	case len(l.filter.names) > 0 && len(names) == 0, !l.filter.takes(host, item, shows):
		return nil
	case e.Manifest != nil && !l.filter.hasTags(e.Manifest.Tags):
		return nil
	case l.removed != e.Marks.IsRemoved():
		return nil
	}
	l.rows++
	l.marks += warnOfMarks(l.cmd, e)
	if e.Err != nil {
		l.damaged++
		warn(l.cmd, "%s: %v", e.Dir, e.Err)
	}
	if l.json {
		raw, err := json.Marshal(listedOf(e))
		if err == nil {
			_, err = fmt.Fprintln(l.cmd.OutOrStdout(), string(raw))
		}
		return err
	}
	row := table.Row{shows.Local().Format(time.DateTime), present.EscapeLine(host), item.Kind, present.EscapeLine(item.Name)}
	if m := e.Manifest; m != nil {
		row = append(row, present.Stored(m.Size(), m.Added()), present.EscapeLine(strings.Join(volumesOf(m), ", ")),
			verifiedColumn(e.Marks), statusColumn(e), notIncludedCount(m))
	} else {
		row = append(row, "", "", "", statusColumn(e), "")
	}
	l.table.AppendRow(append(row, e.ID()))
	return nil
}

// end prints the table, and says what was not found and what cannot be read.
func (l *listing) end(location string) error {
	if !l.json {
		fmt.Fprintln(l.cmd.OutOrStdout(), l.table.Render())
	}
	var missing, unread []string
	for _, name := range l.filter.names {
		if !l.named[name] {
			missing = append(missing, fmt.Sprintf("there is no point of %q in the sink %s", name, location))
		}
	}
	if l.damaged > 0 {
		unread = append(unread, present.Count(l.damaged, "point"))
	}
	if l.marks > 0 {
		unread = append(unread, present.Count(l.marks, "mark"))
	}
	if len(unread) > 0 {
		missing = append(missing, strings.Join(unread, " and ")+" cannot be read")
	}
	if len(missing) > 0 {
		return errors.New(strings.Join(missing, "; "))
	}
	return nil
}

// about returns what a point is of, and the moment that it shows; of one that cannot
// be read what its path says.
func about(e point.Entry) (item events.Item, host string, shows time.Time) {
	if m := e.Manifest; m != nil {
		return m.Item, m.Host, m.SnapshotTime
	}
	parts := strings.Split(e.Dir, "/") // points, host, kind, name, id
	decoded := func(s string) string {
		if plain, err := url.PathUnescape(s); err == nil {
			return plain
		}
		return s
	}
	shows, _ = events.PointTime(parts[4])
	return events.Item{Kind: events.ItemKind(parts[2]), Name: decoded(parts[3])}, decoded(parts[1]), shows
}

// verifiedColumn says when a point was last verified, and how that went.
func verifiedColumn(m point.Marks) string {
	v := m.Verified
	switch {
	case v == nil:
		return ""
	case !v.OK:
		return fmt.Sprintf("FAILED %s %s", v.Time.Local().Format(time.DateTime), v.Level)
	}
	return fmt.Sprintf("%s %s", v.Time.Local().Format(time.DateTime), v.Level)
}

// statusColumn says what is special about a point.
func statusColumn(e point.Entry) string {
	var all []string
	switch {
	case errors.Is(e.Err, point.ErrNewer):
		all = append(all, "newer format")
	case e.Err != nil:
		all = append(all, "damaged")
	case e.Manifest.Signed.Signer != "" && e.Manifest.Signed.Doubt() != "":
		all = append(all, "unknown signer")
	}
	if e.Marks.IsProtected() {
		all = append(all, "protected")
	}
	if r := e.Marks.Removed; r != nil {
		all = append(all, "removed, gone after "+r.GoneAfter.Local().Format(time.DateTime))
	}
	return strings.Join(all, ", ")
}

// volumesOf returns the names of the volumes that a point holds.
func volumesOf(m *point.Manifest) (names []string) {
	for _, a := range m.Volumes() {
		names = append(names, a.Name)
	}
	return names
}

func notIncludedCount(m *point.Manifest) string {
	if len(m.NotIncluded) == 0 {
		return ""
	}
	return present.Count(len(m.NotIncluded), "mount")
}

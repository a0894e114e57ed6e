package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/open"
	"holdfast.io/holdfast/internal/state"
)

func listCommand() *cobra.Command {
	var asJSON bool
	var item string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the recovery points in a sink",
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, _, err := readSink(cmd)
			if err != nil {
				return err
			}
			t := present.NewTable("TIME", "HOST", "KIND", "NAME", "SIZE", "NOT INCLUDED", "POINT")
			damaged := 0
			for p, err := range point.List(cmd.Context(), s, sink.PointsName) {
				if err != nil {
					return err
				}
				m := p.Manifest
				switch {
				case p.Err != nil:
					damaged++
					fmt.Fprintf(cmd.ErrOrStderr(), "holdfast: %s: %s\n", present.Escape(p.Dir), present.Escape(p.Err.Error()))
				case item != "" && item != m.Item.Name && !strings.HasPrefix(m.Item.ID, item):
				case asJSON:
					raw, _ := json.Marshal(m)
					fmt.Fprintln(cmd.OutOrStdout(), string(raw))
				default:
					t.AppendRow(table.Row{m.SnapshotTime.Local().Format(time.DateTime), present.Escape(m.Host), m.Item.Kind,
						present.Escape(m.Item.Name), present.Bytes(storedSize(m)), notIncludedCount(m), m.ID})
				}
			}
			if !asJSON {
				fmt.Fprintln(cmd.OutOrStdout(), t.Render())
			}
			if damaged > 0 {
				return fmt.Errorf("%s cannot be read", present.Count(damaged, "point"))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the manifests, one a line")
	cmd.Flags().StringVar(&item, "item", "", "only points of the item with this `NAME` or id")
	return cmd
}

func showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show POINT",
		Short: "Show a recovery point, and how to load it with standard tools",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, location, err := readSink(cmd)
			if err != nil {
				return err
			}
			found, err := point.Find(cmd.Context(), s, args[0])
			switch {
			case err != nil:
				return err
			case len(found) == 0:
				return fmt.Errorf("there is no point %q in the sink %s; 'holdfast list' shows them", args[0], location)
			case len(found) > 1:
				return fmt.Errorf("%q is the beginning of %d points: give more of it", args[0], len(found))
			}
			m, err := point.Read(cmd.Context(), s, found[0])
			if err != nil {
				return fmt.Errorf("read point %s: %w", args[0], err)
			}
			if asJSON {
				raw, err := m.Encode()
				if err != nil {
					return err
				}
				_, err = cmd.OutOrStdout().Write(raw)
				return err
			}
			showPoint(cmd.OutOrStdout(), s, m)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the manifest")
	return cmd
}

// showPoint prints what a person wants to know of a point.
func showPoint(w io.Writer, from sink.Sink, m *point.Manifest) {
	locator, local := from.(sink.Locator)
	pathOf := func(key string) string {
		if local {
			return locator.Path(key)
		}
		return key
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-13s %s\n", name+":", present.Escape(fmt.Sprintf(format, args...)))
	}
	line("point", "%s", m.ID)
	line("item", "%s %s (%s)", m.Item.Kind, m.Item.Name, m.Item.ID)
	line("host", "%s, Engine %s (%s)", m.Host, m.Engine.Version, m.Engine.Store)
	line("snapshot", "%s", m.SnapshotTime.Local().Format(time.RFC3339))
	if m.Item.Kind == events.ItemContainer {
		line("state", "%s; quiesce %s, not running for %s", m.State, m.Quiesce, present.Millis(m.NotRunningMillis))
	}
	if m.Image != nil {
		line("image", "%s of %s, %s", m.Image.ID, m.Image.Reference, present.Count(m.Image.Layers, "layer"))
	}
	for _, a := range m.Artifacts {
		line("artifact", "%s (%s, %s)", pathOf(a.Key), present.Bytes(a.Size), a.Digest)
	}
	for _, n := range m.NotIncluded {
		line("not included", "%s: %s", present.NotIncludedLines([]events.NotIncluded{n}), n.Reason)
	}
	for _, w := range m.Warnings {
		line("warning", "%s", w.Message)
	}
	for _, k := range sortedKeys(m.Tags) {
		line("tag", "%s=%s", k, m.Tags[k])
	}
	if a := m.Artifact(point.MediaTypeImageArchive); a != nil && m.Image != nil && local {
		fmt.Fprintf(w, "\nload it:      zstd -dc %s | docker load\n", shellQuote(pathOf(a.Key)))
		fmt.Fprintf(w, "name it:      docker tag %s %s\n", m.Image.ID, shellQuote(tagFor(m)))
		fmt.Fprintf(w, "              (an Engine of the other image store loads it under another id, which docker load prints)\n")
	}
}

// tagFor is a name for the loaded image: an image's own, and for a container,
// whose name need not be one that an image can have, one made of the point's id.
func tagFor(m *point.Manifest) string {
	if m.Item.Kind == events.ItemImage && !strings.HasPrefix(m.Item.Name, "sha256:") {
		return m.Item.Name
	}
	return "holdfast/restored:" + m.ID
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%,=~", r)
	}) < 0
	if plain && s != "" && s[0] != '~' {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// readSink opens the sink that a reading command means, and returns where it lies:
// --sink as a URL, with --nats as a name in the configuration, and else the
// worker's own.
func readSink(cmd *cobra.Command) (from sink.Sink, location string, err error) {
	cfg, _, err := settings(cmd)
	if err != nil {
		return nil, "", err
	}
	name := events.DefaultSink
	sinks := sinkConfigs(cfg)
	if cfg.NATS.URL != "" {
		if cfg.Sink != "" {
			name = cfg.Sink
		}
		sinks = cfg.Sinks
		if _, ok := sinks[name]; !ok {
			return nil, "", usage("no sink %q is configured here; with --nats, list and show read the sinks of this configuration", name)
		}
	} else if end, err := state.Find(cfg.StateDir); err == nil && usesStateDirSink(cfg) {
		sinks[name] = open.Config{URL: end.Sink} // of the worker that serves
	}
	if location, err = open.Location(sinks[name]); err != nil {
		return nil, "", usage("sink %s: %w", name, err)
	}
	from, err = open.Existing(cmd.Context(), sinks[name])
	return from, location, err
}

func storedSize(m *point.Manifest) int64 {
	var size int64
	for _, a := range m.Artifacts {
		size += a.Size
	}
	return size
}

func notIncludedCount(m *point.Manifest) string {
	if len(m.NotIncluded) == 0 {
		return ""
	}
	return present.Count(len(m.NotIncluded), "mount")
}

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

func showCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show POINT",
		Short: "Show a recovery point, and how to bring it back",
		Long:  "Show a recovery point, and how to bring it back: with holdfast, or with standard tools.\n\n" + aboutPoint,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, e, err := findPoint(cmd, args[0])
			if err != nil {
				return err
			}
			if e.Manifest != nil {
				if err := e.Manifest.Unseal(cmd.Context(), seal.Of(s)); err != nil {
					warn(cmd, "some of the manifest is not shown: %v", err)
				}
			}
			if asJSON {
				raw, err := json.MarshalIndent(listedOf(e), "", "  ")
				if err == nil {
					_, err = fmt.Fprintln(cmd.OutOrStdout(), string(raw))
				}
				if err != nil {
					return err
				}
			} else {
				p := newPage(cmd.OutOrStdout(), s)
				p.show(e)
			}
			if e.Err != nil {
				return fmt.Errorf("read point %s: %w", e.ID(), e.Err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print manifest and marks")
	return cmd
}

// aboutPoint says what the argument POINT may be.
const aboutPoint = `POINT is a point's id or the beginning of one, or the name of a container, an image or
a volume, for its newest point; NAME@TIME is the newest that shows no later moment, a
time as in 2026-01-31T18:00:00Z.`

// page is what a person wants to know of a point.
type page struct {
	w      io.Writer
	pathOf func(key string) string
	local  bool // paths are of this machine
}

func newPage(w io.Writer, from sink.Sink) *page {
	locator, local := sink.As[sink.Locator](from)
	p := &page{w: w, local: local, pathOf: func(key string) string { return key }}
	if local {
		p.pathOf = locator.Path
	}
	return p
}

func (p *page) line(name, format string, args ...any) {
	if name != "" {
		name += ":"
	}
	fmt.Fprintf(p.w, "%-13s %s\n", name, present.EscapeLine(fmt.Sprintf(format, args...)))
}

func (p *page) show(e point.Entry) {
	p.line("point", "%s", e.ID())
	if e.Manifest != nil {
		p.manifest(e.Manifest)
	} else {
		p.line("path", "%s", p.pathOf(e.Dir))
	}
	p.marks(e.Marks)
	if e.Manifest != nil {
		fmt.Fprintln(p.w)
		p.remedies(e)
	}
}

func (p *page) manifest(m *point.Manifest) {
	p.line("item", "%s %s (%s)", m.Item.Kind, m.Item.Name, m.Item.ID)
	if m.Engine.Version != "" {
		p.line("host", "%s, Engine %s (%s)", m.Host, m.Engine.Version, m.Engine.Store)
	} else {
		p.line("host", "%s", m.Host)
	}
	p.line("snapshot", "%s", m.SnapshotTime.Local().Format(time.RFC3339))
	if m.Item.Kind == events.ItemContainer {
		p.line("state", "%s; quiesce %s, not running for %s", m.State, m.Quiesce, present.Millis(m.NotRunningMillis))
	}
	if m.Image != nil {
		p.line("image", "%s of %s, %s", m.Image.ID, m.Image.Reference, present.Count(m.Image.Layers, "layer"))
		if m.Image.Transport != "" {
			p.line("transport", "%s: %s", m.Image.Transport, m.Image.TransportReason)
		}
	}
	for _, a := range m.Artifacts {
		if point.IsVolume(&a) {
			p.line("volume", "%s, %s", a.Name, present.Bytes(a.UncompressedSize))
		}
	}
	for _, a := range m.Artifacts {
		of := ""
		if a.Encryption != "" {
			of += ", encrypted"
		}
		if a.Reused {
			of += ", was there"
		}
		p.line("artifact", "%s (%s%s, %s)", p.pathOf(a.Key), present.Bytes(a.Size), of, a.Digest)
	}
	for _, n := range m.NotIncluded {
		p.line("not included", "%s: %s", present.NotIncludedLines([]events.NotIncluded{n}), n.Reason)
	}
	for _, w := range m.Warnings {
		p.line("warning", "%s", w.Message)
	}
	for _, k := range sortedKeys(m.Tags) {
		p.line("tag", "%s=%s", k, m.Tags[k])
	}
	p.line("signed by", "%s", signedBy(m.Signed))
}

func (p *page) marks(m point.Marks) {
	switch v := m.Verified; {
	case v == nil && m.Unread[sink.VerifiedName] == nil:
		p.line("verified", "never")
	case v == nil:
		p.line("verified", "not known")
	case v.OK:
		p.line("verified", "%s, %s, by host %s", v.Time.Local().Format(time.RFC3339), v.Level, v.Host)
	default:
		p.line("verified", "FAILED %s, %s, by host %s", v.Time.Local().Format(time.RFC3339), v.Level, v.Host)
		for _, problem := range v.Problems {
			p.line("problem", "%s", strings.TrimPrefix(problem.Key+": "+problem.Message, ": "))
		}
		if v.ProblemsOmitted > 0 {
			p.line("problem", "and %d more", v.ProblemsOmitted)
		}
	}
	switch {
	case m.Protected != nil:
		p.line("protected", "by %s, %s: %s", m.Protected.By, m.Protected.Time.Local().Format(time.RFC3339), m.Protected.Reason)
	case m.IsProtected():
		p.line("protected", "yes; by whom is not known")
	}
	if r := m.Removed; r != nil {
		p.line("removed", "%s, by host %s, job %s: %s", r.Time.Local().Format(time.RFC3339), r.Host, r.Job, r.Reason)
		p.line("gone after", "%s", r.GoneAfter.Local().Format(time.RFC3339))
	}
}

// remedies says how the point is brought back.
func (p *page) remedies(e point.Entry) {
	m := e.Manifest
	if e.Marks.IsRemoved() {
		p.line("take it back", "holdfast unprune %s", m.ID)
	}
	p.line("restore it", "holdfast restore %s", m.ID)
	if !p.local {
		return
	}
	if _, has := image.SizeOf(m); has && m.Image != nil {
		id, where := m.Image.ID, "of the other image store"
		if a := m.Artifact(point.MediaTypeImageArchive); a != nil {
			p.line("load it", "%s | docker load", p.decompress(*a))
		} else {
			p.line("load it", "holdfast export %s | docker load", m.ID)
			id, where = m.Image.ConfigDigest, "with the containerd store"
		}
		p.line("name it", "docker tag %s %s", id, shellQuote(tagFor(m)))
		p.line("", "(an Engine %s loads it under another id, which docker load prints)", where)
	}
	for _, a := range m.Volumes() {
		read := p.decompress(a)
		if a.MediaType == point.MediaTypePieces {
			read = fmt.Sprintf("holdfast export %s --volume %s", m.ID, shellQuote(a.Name))
		}
		p.line("unpack it", "%s | tar -xp --xattrs --xattrs-include='*' --acls --sparse --numeric-owner -C DIR", read)
	}
}

// decompress is a command that prints the plain bytes of an archive.
func (p *page) decompress(a events.Artifact) string {
	path := shellQuote(p.pathOf(a.Key))
	if a.Encryption != "" {
		return "age -d -i IDENTITY " + path + " | zstd -dc"
	}
	return "zstd -dc " + path
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

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/internal/node"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/state"
)

func keysCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Show the keys that this worker signs with",
		Long: `Show the keys that this worker signs with, and signed with before, each on a line that
the signers of a sink take. A worker makes its first key when it first starts. It signs the
manifest of each point that it stores, and ssh-keygen reads the signature:

  ssh-keygen -Y verify -n holdfast -f ALLOWED -I web01 -s manifest.json.sig <manifest.json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := settings(cmd)
			if err != nil {
				return err
			}
			keys, err := state.FindKeys(cfg.StateDir)
			if errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s has no key yet: a worker makes one when it first starts, and so does 'holdfast keys new'", cfg.StateDir)
			}
			if err != nil {
				return err
			}
			return printKeys(cmd, keys)
		},
	}
	cmd.AddCommand(newKeyCommand(), checkKeysCommand())
	return cmd
}

func printKeys(cmd *cobra.Command, keys state.Keys) error {
	for i, public := range keys.All() {
		fingerprint, err := sign.Fingerprint(public)
		if err != nil {
			return err
		}
		use := "signs"
		if i > 0 {
			use = "was used before"
		}
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), public); err != nil {
			return err
		}
		fmt.Fprintln(cmd.ErrOrStderr(), fingerprint, use)
	}
	return nil
}

func newKeyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "new",
		Short: "Sign with a new key from now on",
		Long: `Sign with a new key from now on. The one before stays trusted by this worker, so that its
points do; it is no longer kept. Where it may be known to others, take it out of the signers
of every sink, and out of keys.json in the state dir. No worker may be running.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, _, err := settings(cmd)
			if err != nil {
				return err
			}
			dir, err := state.Hold(cfg.StateDir)
			if err != nil {
				return err
			}
			defer dir.Close()
			before, err := state.FindKeys(cfg.StateDir)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			after, err := node.NewKeys(before, keyComment(before))
			if err != nil {
				return err
			}
			if err := dir.KeepKeys(after); err != nil {
				return err
			}
			return printKeys(cmd, after)
		},
	}
}

// keyComment is the comment of a new key: that of the one before, which is the host's id, or
// the name of this machine.
func keyComment(before state.Keys) string {
	if words := strings.Fields(before.Public); len(words) > 2 {
		return strings.Join(words[2:], " ")
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

func checkKeysCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the signatures of all points of a sink",
		Long: `Check the signatures of all points of a sink, and say who has signed. The exit status is 1
if one does not fit, or if the sink has signers and a point is of nobody of them.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, location, err := readSink(cmd)
			if err != nil {
				return err
			}
			t := present.NewTable("TIME", "HOST", "NAME", "SIGNED BY", "POINT")
			wrong, rows := 0, 0
			for e, err := range point.List(cmd.Context(), s, sink.PointsName) {
				if err != nil {
					return err
				}
				rows++
				if e.Manifest == nil {
					wrong++
					warn(cmd, "%s: %v", e.Dir, e.Err)
					continue
				}
				m := e.Manifest
				t.AppendRow([]any{m.SnapshotTime.Local().Format(time.DateTime), present.Escape(m.Host), present.Escape(m.Item.Name),
					signedBy(m.Signed), e.ID()})
			}
			if _, err := fmt.Fprintln(cmd.OutOrStdout(), t.Render()); err != nil {
				return err
			}
			if wrong > 0 {
				return fmt.Errorf("%d of %d points in the sink %s are not to be trusted", wrong, rows, location)
			}
			return nil
		},
	}
}

// signedBy says who has signed a point.
func signedBy(v sign.Verdict) string {
	switch {
	case v.Signer == "":
		return "nobody"
	case !v.Trusted:
		return v.Signer + ", not known here"
	}
	return v.Signer
}

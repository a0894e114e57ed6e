package main

import (
	"fmt"
	"path"
	"time"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/sink"
)

func protectCommand() *cobra.Command {
	var reason string
	cmd := &cobra.Command{
		Use:   "protect POINT",
		Short: "Keep a recovery point whatever prune is asked for",
		Long: `Keep a recovery point whatever prune is asked for, until it is unprotected. The mark
says who protected it, when, and why.

` + aboutPoint,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case reason == "":
				return usage("say why, with --reason")
			case len([]rune(reason)) > point.MaxMarkText:
				return usage("a reason has at most %d characters", point.MaxMarkText)
			}
			s, e, err := findPoint(cmd, args[0])
			if err != nil {
				return err
			}
			if r := e.Marks.Removed; r != nil {
				return fmt.Errorf("point %s was removed, and is gone after %s; take it back first, with 'holdfast unprune %s'",
					e.ID(), r.GoneAfter.Local().Format(time.RFC3339), e.ID())
			}
			if p := e.Marks.Protected; p != nil && p.Reason == reason {
				return tell(cmd, "point %s is protected already, by %s since %s", e.ID(), p.By, p.Time.Local().Format(time.RFC3339))
			}
			err = point.Protected{By: whoAsks(), Time: time.Now().UTC(), Reason: reason}.Write(cmd.Context(), s, e.Dir)
			if err != nil {
				return fmt.Errorf("protect point %s: %w", e.ID(), err)
			}
			// A prune that hid it at this moment may not have seen the mark.
			if m := point.ReadMarks(cmd.Context(), s, e.Dir, sink.RemovedName); m.IsRemoved() {
				return fmt.Errorf("point %s is protected, and a prune has hidden it meanwhile; take it back with 'holdfast unprune %s'", e.ID(), e.ID())
			}
			return tell(cmd, "point %s is protected", e.ID())
		},
	}
	cmd.Flags().StringVar(&reason, "reason", "", "why, in a few words (`TEXT`)")
	return cmd
}

func unprotectCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unprotect POINT",
		Short: "Let prune remove a recovery point again",
		Long:  "Let prune remove a recovery point again.\n\n" + aboutPoint,
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, e, err := findPoint(cmd, args[0])
			if err != nil {
				return err
			}
			if !e.Marks.IsProtected() {
				return tell(cmd, "point %s is not protected", e.ID())
			}
			if err := s.Remove(cmd.Context(), path.Join(e.Dir, sink.ProtectedName)); err != nil {
				return fmt.Errorf("unprotect point %s: %w", e.ID(), err)
			}
			return tell(cmd, "point %s is no longer protected", e.ID())
		},
	}
}

// tell prints a line for people.
func tell(cmd *cobra.Command, format string, args ...any) error {
	_, err := fmt.Fprintln(cmd.OutOrStdout(), present.Escape(fmt.Sprintf(format, args...)))
	return err
}

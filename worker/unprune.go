package main

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
)

func unpruneCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "unprune POINT...",
		Short: "Take back recovery points that prune has hidden",
		Long: `Take back recovery points that prune has hidden, as long as their bytes are there.
'holdfast list --removed' shows them. The next prune may remove them again: protect
those that are to stay.

` + aboutPoint,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var failure error
			for _, arg := range args {
				if err := unprune(cmd, arg); err != nil {
					failure = errors.Join(failure, err)
				}
			}
			return failure
		},
	}
}

func unprune(cmd *cobra.Command, arg string) error {
	s, e, err := findPoint(cmd, arg)
	if err != nil {
		return err
	}
	if _, unreadable := e.Marks.Unread[sink.RemovedName]; !unreadable && !e.Marks.IsRemoved() {
		return tell(cmd, "point %s is not removed", e.ID())
	}
	if err := takeBack(cmd.Context(), s, e.Dir); err != nil {
		return fmt.Errorf("take point %s back: %w", e.ID(), err)
	}
	return tell(cmd, "point %s is back", e.ID())
}

// takeBack removes the mark that hides a point.
func takeBack(ctx context.Context, s sink.Sink, dir string) error {
	if err := s.Remove(ctx, path.Join(dir, sink.RemovedName)); err != nil {
		return err
	}
	_, err := point.Read(ctx, s, dir)
	if errors.Is(err, sink.ErrNotFound) {
		return fmt.Errorf("%w: a prune has removed its bytes meanwhile", err)
	}
	return err
}

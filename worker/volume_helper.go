package main

import (
	"os"
	"slices"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/internal/volume"
)

// volumeHelperCommand is what this program is inside a helper container. It reads no
// configuration, as there is none: everything is in its arguments and its streams.
func volumeHelperCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "volume-helper read|write|empty|clear DIR",
		Short:  "Read or write a folder as a tar stream (used inside helper containers)",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			op := volume.Op(args[0])
			if !slices.Contains(volume.Ops, op) {
				return usage("there is no operation %q; see '%s --help'", op, cmd.CommandPath())
			}
			if err := volume.Serve(cmd.Context(), op, args[1], os.Stdin, os.Stdout, os.Stderr); err != nil {
				return &exitError{status: exitFailed} // it is in the answer
			}
			return nil
		},
	}
}

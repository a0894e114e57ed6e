package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/schemas"
)

func schemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "schema [TYPE]",
		Short: "List the event types, or print the JSON Schema of one",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				for _, name := range schemas.Names() {
					fmt.Fprintln(cmd.OutOrStdout(), name)
				}
				return nil
			}
			raw, err := schemas.Source(args[0])
			if err != nil {
				return usage("%w; 'holdfast schema' lists them", err)
			}
			_, err = cmd.OutOrStdout().Write(raw)
			return err
		},
	}
}

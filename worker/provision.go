package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/internal/bus/provision"
	"holdfast.io/holdfast/internal/present"
)

func provisionCommand() *cobra.Command {
	var update bool
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Create the streams, consumers and buckets on a NATS server",
		Long: `Create what Holdfast needs on the NATS server: streams, buckets, the shared
consumer, and with --host-id the consumers of that host. It can be run again.
What is there and differs is reported and left alone without --update.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(cmd)
			if err != nil {
				return err
			}
			if cfg.NATS.URL == "" {
				return usage("provision needs --nats: a server of our own is provisioned when it starts")
			}
			b, err := connectConfigured(cmd.Context(), cfg, log)
			if err != nil {
				return err
			}
			defer b.Close()
			o := provision.Options{Update: update, Replicas: cfg.NATS.Replicas}
			if cfg.Host.ID != "" {
				o.Hosts = []string{cfg.Host.ID}
			}
			changes, err := provision.Run(cmd.Context(), b, o)
			kept := 0
			for _, c := range changes {
				fmt.Fprintln(cmd.OutOrStdout(), changeLine(c))
				if c.Action == provision.Keep {
					kept++
				}
			}
			switch {
			case err != nil:
				return err
			case kept > 0:
				return fmt.Errorf("%s left as found; change with --update", present.Count(kept, "object"))
			case len(changes) == 0:
				fmt.Fprintln(cmd.OutOrStdout(), "all is there, and as it should be")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&update, "update", false, "change what is there and differs")
	return cmd
}

// changeLine says what becomes of an object on the server.
func changeLine(c provision.Change) string {
	line := fmt.Sprintf("%s %s %s", c.Action, c.Kind, c.Name)
	for _, setting := range c.Settings {
		line += "; " + setting.String()
	}
	return line
}

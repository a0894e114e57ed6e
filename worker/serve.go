package main

import (
	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/node"
)

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve this host: take requests and back up its containers",
		Long: `Serve this host until SIGTERM or Ctrl-C. While another worker serves it, this
one stands by, and takes over when that one dies or stops. Without --nats, a NATS server of our own
runs in this process, on loopback only; commands of the same user find it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(cmd)
			if err != nil {
				return err
			}
			if cfg.Policy.Kinds == nil {
				cfg.Policy.Kinds = []events.Kind{events.Backup, events.Verify, events.Copy, events.Cancel}
			}
			if err := cfg.Check(); err != nil { // what was left out counts, too
				return &exitError{status: exitUsage, cause: err}
			}
			if cfg.Policy.Quiesce == nil {
				cfg.Policy.Quiesce = []events.Quiesce{events.QuiescePause, events.QuiesceNone}
			}
			ctx := cmd.Context()
			options := nodeOptions(cfg, log)
			options.Wait = true
			n, err := node.Start(ctx, options)
			if err != nil && ctx.Err() != nil { // stopped while it waited
				return nil
			}
			if err != nil {
				return err
			}
			defer n.Close()
			if err := n.Run(ctx); err != nil {
				return err
			}
			log.Info("stopped")
			return nil
		},
	}
}

package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/state"
)

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Serve this host: take requests and back up its containers",
		Long: `Serve this host until SIGTERM or Ctrl-C. Without --nats, a NATS server of our own
runs in this process, on loopback only; commands of the same user find it.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, log, err := settings(cmd)
			if err != nil {
				return err
			}
			if cfg.Policy.Quiesce == nil {
				cfg.Policy.Quiesce = []events.Quiesce{events.QuiescePause, events.QuiesceNone}
			}
			ctx := cmd.Context()
			n, err := startNode(ctx, cfg, log, true)
			switch {
			case errors.Is(err, state.ErrLocked):
				return fmt.Errorf("%w; another worker serves it, or choose another one with --state-dir", err)
			case err != nil && ctx.Err() != nil: // stopped while it waited
				return nil
			case err != nil:
				return err
			}
			defer n.close()
			log.Info("serving", zap.String("host", n.host), zap.String("engine", n.engine.Host()),
				zap.Strings("sinks", n.sinks.Names()), zap.Int("slots", cfg.Slots), zap.String("version", programVersion()))
			n.run(ctx)
			log.Info("stopped")
			return nil
		},
	}
}

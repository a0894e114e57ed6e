package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"go.uber.org/zap"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/client"
	"holdfast.io/holdfast/internal/config"
	"holdfast.io/holdfast/internal/state"
)

// reach connects to the configured message server, or else to that of the worker
// that serves the state dir. Host is whom that one serves; it is empty for a
// configured server.
func reach(ctx context.Context, cfg *config.Config, log *zap.Logger) (b *bus.Bus, host string, err error) {
	if cfg.NATS.URL != "" {
		b, err = connectConfigured(ctx, cfg, log)
		return b, "", err
	}
	end, err := state.Find(cfg.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", fmt.Errorf("no worker serves the state dir %s: start holdfast serve, or use --nats", cfg.StateDir)
	}
	if err != nil {
		return nil, "", err
	}
	b, err = connectTo(ctx, end, log)
	return b, end.Host, err
}

// connectTo connects to the server of the worker that serves a state dir.
func connectTo(ctx context.Context, end state.Endpoint, log *zap.Logger) (*bus.Bus, error) {
	return bus.Connect(ctx, bus.Options{URL: end.URL, User: end.User, Password: end.Password, Name: "holdfast", Logger: log})
}

// cliSource is the CloudEvents source of requests made by hand.
const cliSource = "/holdfast/cli"

func asker(b *bus.Bus) client.Client { return client.Client{Bus: b, Source: cliSource} }

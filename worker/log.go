package main

import (
	"fmt"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger logs to standard error.
func newLogger(c logConfig) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level is %q; it must be debug, info, warn or error", c.Level)
	}
	z := zap.NewProductionConfig()
	z.Level = zap.NewAtomicLevelAt(level)
	z.Encoding = c.Format
	z.Sampling = nil
	z.DisableCaller, z.DisableStacktrace = true, true
	z.EncoderConfig.EncodeTime = zapcore.ISO8601TimeEncoder
	if c.Format == "console" {
		z.EncoderConfig.EncodeLevel = zapcore.CapitalLevelEncoder
	}
	return z.Build()
}

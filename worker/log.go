package main

import (
	"fmt"
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"holdfast.io/holdfast/internal/config"
)

// newLogger logs to standard error.
func newLogger(c config.Log) (*zap.Logger, error) {
	level, err := zapcore.ParseLevel(c.Level)
	if err != nil {
		return nil, fmt.Errorf("log.level is %q; it must be debug, info, warn or error", c.Level)
	}
	form := zap.NewProductionEncoderConfig()
	form.EncodeTime = zapcore.ISO8601TimeEncoder
	encoder := zapcore.NewJSONEncoder(form)
	if c.Format == "console" {
		form.EncodeLevel = zapcore.CapitalLevelEncoder
		encoder = zapcore.NewConsoleEncoder(form)
	}
	out := zapcore.Lock(os.Stderr)
	return zap.New(zapcore.NewCore(encoder, out, level), zap.ErrorOutput(out)), nil
}

package open

import (
	"context"
	"fmt"

	"holdfast.io/holdfast/internal/sink"
	filesink "holdfast.io/holdfast/internal/sink/file"
)

const fileScheme = "file"

// ModesIgnored accepts that other users of the machine may read what is stored.
const ModesIgnored = "ignored"

// file is the scheme of sinks in a folder. Their location is its absolute path.
var file = scheme{
	members:  []string{"modes"},
	isPath:   true,
	location: fileLocation,
	open: func(ctx context.Context, c Config, location, known string) (sink.Sink, error) {
		return asSink(filesink.Open(ctx, location, known, fileOptions(c)))
	},
	existing: func(ctx context.Context, c Config, location string) (sink.Sink, error) {
		return asSink(filesink.OpenExisting(ctx, location, fileOptions(c)))
	},
}

func fileLocation(c Config) (string, error) {
	if c.Modes != "" && c.Modes != ModesIgnored {
		return "", fmt.Errorf("modes is %q; it must be %s, or be left out", c.Modes, ModesIgnored)
	}
	return path(c.URL)
}

func fileOptions(c Config) filesink.Options {
	return filesink.Options{ModesIgnored: c.Modes == ModesIgnored, Format: c.Format}
}

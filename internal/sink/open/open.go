// Package open opens sinks by their configuration: the scheme of a sink's URL says
// which implementation it is. A request names a sink; it never brings a URL.
package open

import (
	"context"
	"fmt"
	"regexp"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/file"
)

// Config is the configuration of one sink: plain data, which [Location] checks.
type Config struct {
	// URL is where the sink lies: a path, or file:///path in which odd characters
	// are percent-encoded.
	URL string `yaml:"url"`
	// Modes is ModesIgnored for a file sink on a file system that keeps no modes,
	// which is refused otherwise.
	Modes string `yaml:"modes"`
	// Shared is set for a sink that other hosts have under the same name: any of them may
	// verify and prune what lies there.
	Shared bool `yaml:"shared"`
}

// ModesIgnored accepts that other users of the machine may read what is stored.
const ModesIgnored = "ignored"

// Location checks a configuration and returns where the sink lies in its one
// canonical form, for people and to recognize the sink by. It holds no secret. The
// location of a file sink is its absolute path.
func Location(c Config) (string, error) {
	s, err := schemeOf(c)
	if err != nil {
		return "", err
	}
	return s.location(c)
}

// Existing returns the sink that is there, whichever it is, and sets none up.
// Errors wrap [sink.ErrUnavailable], unless the configuration is wrong.
func Existing(ctx context.Context, c Config) (sink.Sink, error) {
	s, err := schemeOf(c)
	if err != nil {
		return nil, err
	}
	location, err := s.location(c)
	if err != nil {
		return nil, err
	}
	return s.existing(ctx, c, location)
}

// scheme is one kind of URL, and how its sinks are opened.
type scheme struct {
	// location is as [Location].
	location func(c Config) (string, error)
	// open opens the sink whose id is known from earlier; an empty id lets it set
	// one up. existing opens the sink that is there.
	open     func(ctx context.Context, c Config, location, known string) (sink.Sink, error)
	existing func(ctx context.Context, c Config, location string) (sink.Sink, error)
}

const fileScheme = "file"

var schemes = map[string]scheme{
	fileScheme: {
		location: fileLocation,
		open: func(ctx context.Context, c Config, location, known string) (sink.Sink, error) {
			return asSink(file.Open(ctx, location, known, fileOptions(c)))
		},
		existing: func(ctx context.Context, c Config, location string) (sink.Sink, error) {
			return asSink(file.OpenExisting(ctx, location, fileOptions(c)))
		},
	},
}

func fileLocation(c Config) (string, error) {
	if c.Modes != "" && c.Modes != ModesIgnored {
		return "", fmt.Errorf("modes is %q; it must be %s, or be left out", c.Modes, ModesIgnored)
	}
	return path(c.URL)
}

func fileOptions(c Config) file.Options { return file.Options{ModesIgnored: c.Modes == ModesIgnored} }

// asSink keeps a nil pointer from becoming a sink.
func asSink[S sink.Sink](s S, err error) (sink.Sink, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// schemeName is how a URL begins that is no path. One letter is a Windows drive.
var schemeName = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]+):`)

func schemeOf(c Config) (scheme, error) {
	name := schemeIn(c.URL)
	if name == "" {
		name = fileScheme // a path
	}
	s, ok := schemes[name]
	if !ok {
		return scheme{}, fmt.Errorf("the scheme %q is not known: this version stores to a path or a file:///path", name)
	}
	return s, nil
}

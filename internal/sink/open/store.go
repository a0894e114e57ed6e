package open

import (
	"context"
	"io"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
)

// inStore is a scheme of sinks in object stores, which newStore makes of a configuration,
// without connecting to anything. mayMake lets the store set up what is missing. Its location
// is the store's own place.
func inStore(newStore func(c Config, mayMake bool) (object.Store, error), members ...string) scheme {
	return scheme{
		members: members,
		location: func(c Config) (string, error) {
			store, err := newStore(c, false)
			if err != nil {
				return "", err
			}
			return store.Place(""), nil
		},
		open: func(ctx context.Context, c Config, _, known string) (sink.Sink, error) {
			store, err := newStore(c, true)
			if err != nil {
				return nil, err
			}
			opened, err := object.Open(ctx, store, known, c.Format)
			return withSpace(ctx, store, opened, err)
		},
		existing: func(ctx context.Context, c Config, _ string) (sink.Sink, error) {
			store, err := newStore(c, false)
			if err != nil {
				return nil, err
			}
			opened, err := object.OpenExisting(ctx, store)
			return withSpace(ctx, store, opened, err)
		},
	}
}

// spacer is a store that may know how much room it has.
type spacer interface {
	sink.Spacer
	// TellsFree reports whether Free is of use.
	TellsFree(ctx context.Context) (bool, error)
}

// spacious is a sink in a store that knows how much room it has.
type spacious struct {
	*object.Sink
	sink.Spacer
}

// withSpace returns a sink that was opened in a store, with the room that the store knows of.
func withSpace(ctx context.Context, store object.Store, opened *object.Sink, err error) (sink.Sink, error) {
	if err != nil {
		if c, ok := store.(io.Closer); ok {
			_ = c.Close() // what counts is why it cannot be opened
		}
		return nil, err
	}
	s, ok := store.(spacer)
	if !ok {
		return opened, nil
	}
	if tells, err := s.TellsFree(ctx); err != nil || !tells {
		return asSink(opened, err)
	}
	return spacious{opened, s}, nil
}

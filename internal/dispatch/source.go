package dispatch

import (
	"context"
	"time"

	"holdfast.io/holdfast/internal/bus"
)

// Source is where requests come from. Next blocks until it has taken one
// message, or ctx ends; a message that was taken is never lost. Another error
// means that no more will come.
type Source interface {
	Next(ctx context.Context) (*bus.Message, error)
}

// delivery is a message that was taken, and how to settle it.
type delivery struct {
	*bus.Message
	settle settler
}

// settler settles one delivery, as [bus.Message] says.
type settler interface {
	KeepAlive(ctx context.Context) (stop func())
	Done(ctx context.Context) error
	Reject(ctx context.Context, reason string) error
	Later(delay time.Duration) error
}

// intake is a Source as the worker takes from it.
type intake interface {
	next(ctx context.Context) (*delivery, error)
}

// fromBus is an intake whose messages settle themselves.
type fromBus struct{ Source }

func (f fromBus) next(ctx context.Context) (*delivery, error) {
	m, err := f.Next(ctx)
	if err != nil {
		return nil, err
	}
	return &delivery{Message: m, settle: m}, nil
}

func intakes(sources []Source) []intake {
	all := make([]intake, len(sources))
	for i, s := range sources {
		all[i] = fromBus{s}
	}
	return all
}

package provision

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/topology"
)

func planStream(ctx context.Context, b *bus.Bus, want streamConfig, update bool) (*step, error) {
	return planStorage(ctx, b, Change{Kind: "stream", Name: want.Name}, streamFields, want, update)
}

func planBucket(ctx context.Context, b *bus.Bus, want streamConfig, update bool) (*step, error) {
	return planStorage(ctx, b, Change{Kind: "bucket", Name: topology.BucketName(want.Name)}, bucketFields, want, update)
}

// planStorage compares the fields of a stream, which c names.
func planStorage(ctx context.Context, b *bus.Bus, c Change, fields []field[streamConfig], want streamConfig, update bool) (*step, error) {
	have, err := b.JetStream().Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		create := func(ctx context.Context) error {
			least := want
			least.MaxBytes /= smallestShare
			_, err := b.JetStream().CreateStream(ctx, least)
			return unlessExists(err)
		}
		c.Action = Create
		return &step{c, create, growth(b, want.Name, want.MaxBytes)}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up %s %s: %w", c.Kind, c.Name, bus.Named(err))
	}
	config := have.CachedInfo().Config
	settings, merged := diff(fields, config, want)
	return difference(c.Kind, c.Name, settings, update, streamUpdate(b, config, merged)), nil
}

func planConsumer(ctx context.Context, b *bus.Bus, want topology.Consumer, update bool) (*step, error) {
	name := want.Stream + "/" + want.Config.Durable
	have, err := b.JetStream().Consumer(ctx, want.Stream, want.Config.Durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) || errors.Is(err, jetstream.ErrStreamNotFound) {
		create := func(ctx context.Context) error {
			_, err := b.JetStream().CreateConsumer(ctx, want.Stream, want.Config)
			return unlessExists(err)
		}
		return &step{Change{Kind: "consumer", Name: name, Action: Create}, create, nil}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look up consumer %s: %w", name, bus.Named(err))
	}
	settings, merged := diff(consumerFields, normal(have.CachedInfo().Config), want.Config)
	return difference("consumer", name, settings, update, func(ctx context.Context) error {
		_, err := b.JetStream().UpdateConsumer(ctx, want.Stream, merged)
		return err
	}), nil
}

// unlessExists returns no error if somebody else was quicker.
func unlessExists(err error) error {
	for _, exists := range []error{jetstream.ErrStreamNameAlreadyInUse, jetstream.ErrConsumerExists} {
		if errors.Is(err, exists) {
			return nil
		}
	}
	return err
}

// difference returns nil if there is none.
func difference(kind, name string, settings []Setting, update bool, apply func(context.Context) error) *step {
	if len(settings) == 0 {
		return nil
	}
	action := Keep
	if update {
		action = Update
	}
	return &step{Change{Kind: kind, Name: name, Action: action, Settings: settings}, apply, nil}
}

// smallestWindow is the smallest window of duplicates that a server takes.
const smallestWindow = 100 * time.Millisecond

// streamUpdate takes a window of duplicates away in two steps. At any change of it
// the server looks at once which message ids are too old, but may still go by the
// window of before, and then looks again only when that has passed (nats-server
// 2.15, purgeMsgIds).
func streamUpdate(b *bus.Bus, have, want streamConfig) func(context.Context) error {
	return func(ctx context.Context) error {
		if have.Duplicates > 0 && want.Duplicates == 0 {
			smaller := want
			smaller.Duplicates = smallestWindow
			if _, err := b.JetStream().UpdateStream(ctx, smaller); err != nil {
				return err
			}
		}
		_, err := b.JetStream().UpdateStream(ctx, want)
		return err
	}
}

// growth gives a stream as much of the bytes as the server can reserve, by
// halves.
func growth(b *bus.Bus, name string, bytes int64) func(context.Context) error {
	return func(ctx context.Context) error {
		stream, err := b.JetStream().Stream(ctx, name)
		if err != nil {
			return err
		}
		config := stream.CachedInfo().Config
		least := config.MaxBytes
		for config.MaxBytes = bytes; config.MaxBytes > least; config.MaxBytes /= 2 {
			if _, err := b.JetStream().UpdateStream(ctx, config); !noRoom(err) {
				return err
			}
		}
		return nil
	}
}

// Package provision makes the streams, buckets and consumers of the contract on a
// message server, and compares those that are there with what they should be.
package provision

import (
	"context"
	"fmt"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bus"
	"holdfast.io/holdfast/internal/bus/topology"
)

// Options say what to provision.
type Options struct {
	// Hosts are the ids of the hosts to enrol, see [events.HostID].
	Hosts []string
	// Update changes existing objects that differ.
	Update bool
	// Replicas is the number of servers that hold each stream. 0 means 1 for a
	// new stream, and leaves an existing one as it is.
	Replicas int
}

// Action is what becomes of an object.
type Action string

// The actions.
const (
	Create Action = "create"
	Update Action = "update"
	// Keep leaves an object alone although it differs.
	Keep Action = "keep"
)

// Change is an object that is not as it should be.
type Change struct {
	// Kind is stream, bucket or consumer.
	Kind string
	// Name is the object's; a consumer's follows its stream's and a slash.
	Name   string
	Action Action
	// Settings are those that differ; none if the object is missing.
	Settings []Setting
}

// step is a change, and how to make it.
type step struct {
	Change
	apply func(ctx context.Context) error
	// grow gives a new stream its full size, if there is room; it may be nil.
	grow func(ctx context.Context) error
}

// Run makes the streams, buckets and consumers of the contract. It may be
// called any number of times, and by many at once. An object that exists and differs is reported, and
// left alone unless o.Update. It returns what it changed and what it left; after
// an error, what it changed until then.
//
// Where the server lacks the room, a new stream gets as little as a sixteenth of
// its bytes.
func Run(ctx context.Context, b *bus.Bus, o Options) ([]Change, error) {
	steps, err := plan(ctx, b, o)
	if err != nil {
		return nil, err
	}
	var made []Change
	for _, s := range steps {
		if s.Action != Keep {
			if err := s.apply(ctx); err != nil {
				return made, s.failed(err)
			}
		}
		made = append(made, s.Change)
	}
	// Only when every stream has its least may one have more.
	for _, s := range steps {
		if s.grow != nil {
			if err := s.grow(ctx); err != nil {
				return made, s.failed(err)
			}
		}
	}
	return made, nil
}

func (s step) failed(err error) error {
	if noRoom(err) {
		err = fmt.Errorf("the server cannot reserve its least size; give it more disk or a higher limit: %w", err)
	}
	return fmt.Errorf("%s %s %s: %w", s.Action, s.Kind, s.Name, bus.Named(err))
}

// Check returns what Run would do for the hosts, and changes nothing.
func Check(ctx context.Context, b *bus.Bus, hosts []string) ([]Change, error) {
	steps, err := plan(ctx, b, Options{Hosts: hosts})
	if err != nil {
		return nil, err
	}
	var changes []Change
	for _, s := range steps {
		changes = append(changes, s.Change)
	}
	return changes, nil
}

// plan compares what there is with what there should be, in the order in which
// it has to be made.
func plan(ctx context.Context, b *bus.Bus, o Options) ([]step, error) {
	for _, host := range o.Hosts {
		if !events.ValidHostID(host) {
			return nil, fmt.Errorf("%q is not a host id", host)
		}
	}
	var steps []step
	add := func(s *step, err error) error {
		if err != nil {
			return err
		}
		if s != nil {
			steps = append(steps, *s)
		}
		return nil
	}
	for _, want := range topology.Streams(o.Replicas) {
		if err := add(planStream(ctx, b, want, o.Update)); err != nil {
			return nil, err
		}
	}
	for _, want := range topology.Buckets(o.Replicas) {
		if err := add(planBucket(ctx, b, want, o.Update)); err != nil {
			return nil, err
		}
	}
	for _, want := range enrolment(o.Hosts) {
		if err := add(planConsumer(ctx, b, want, o.Update)); err != nil {
			return nil, err
		}
	}
	return steps, nil
}

// enrolment returns the consumers of the hosts, the shared one once.
func enrolment(hosts []string) []topology.Consumer {
	all := []topology.Consumer{topology.AnyConsumer()}
	for _, host := range hosts {
		all = append(all, topology.WorkConsumers(host)...)
		all = append(all, topology.CancelConsumers(host)...)
	}
	return all
}

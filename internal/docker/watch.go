package docker

import (
	"context"
	"fmt"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"holdfast.io/holdfast/internal/engine"
)

// watchBuffer is the number of changes of one container that may wait. A full
// buffer only slows the stream down.
const watchBuffer = 64

// Watch implements [engine.Watcher].
func (e *Engine) Watch(ctx context.Context, containerID string) (<-chan engine.Change, error) {
	// The Engine answers before it has subscribed (moby, api/server/router/system),
	// so an event in between is asked for by the Engine's own time.
	since, err := e.Time(ctx)
	if err != nil {
		return nil, err
	}
	about, err := e.About(ctx)
	if err != nil {
		return nil, err
	}
	ctx, opened := withOpened(ctx)
	messages, errs := e.api.Events(ctx, events.ListOptions{
		Since: fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond()),
		Filters: filters.NewArgs(
			filters.Arg("type", string(events.ContainerEventType)),
			filters.Arg("container", containerID),
		),
	})
	if !opened.Load() { // refused, or away
		err := <-errs
		if cause := context.Cause(ctx); cause != nil {
			return nil, cause
		}
		return nil, e.translate(err)
	}
	changes := make(chan engine.Change, watchBuffer)
	go func() {
		defer close(changes)
		for {
			select {
			case m := <-messages:
				if m.Actor.ID != containerID { // the filter takes names and prefixes too
					continue
				}
				for _, c := range changesOf(m, about.Kind) {
					select {
					case changes <- c:
					case <-ctx.Done():
						return
					}
				}
			case <-errs: //nolint:errcheck // whoever watches learns it by the closed channel
				return
			}
		}
	}()
	return changes, nil
}

// changesOf is what an event says. Of a container that it stops Podman only tells that
// its process ended.
func changesOf(m events.Message, kind string) []engine.Change {
	c := change(m)
	if kind == podmanEngine && c.Action == engine.ActionDie {
		return []engine.Change{c, {Action: engine.ActionStop, Time: c.Time}}
	}
	return []engine.Change{c}
}

func change(m events.Message) engine.Change {
	c := engine.Change{
		Action:  engine.Action(m.Action),
		Time:    time.Unix(0, m.TimeNano),
		ImageID: m.Actor.Attributes["imageID"],
	}
	if m.TimeNano == 0 {
		c.Time = time.Unix(m.Time, 0)
	}
	return c
}

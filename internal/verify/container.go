package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/failure"
	"holdfast.io/holdfast/internal/undo"
)

// create makes the container: of the image's own configuration, without network, and
// with nothing of the host. One that is not to be started gets a command that is none,
// as an image need not have one.
func (d *drill) create(ctx context.Context, starts bool) (id string, err error) {
	img, err := d.Engine.InspectImage(ctx, d.imageID)
	if err != nil {
		return "", err
	}
	// What the image's labels mean to others must not reach this container, and an
	// Engine adds those that are not given.
	labels := map[string]string{engine.HelperLabel: d.name}
	for label := range img.Labels {
		if label != engine.HelperLabel {
			labels[label] = ""
		}
	}
	config := map[string]any{
		"Image": d.imageID, "Labels": labels,
		"HostConfig": map[string]any{
			"NetworkMode": "none", "RestartPolicy": map[string]any{"Name": "no"}, "LogConfig": map[string]any{"Type": "none"},
		},
	}
	if !starts {
		config["Entrypoint"], config["Cmd"] = []string{}, []string{"not-started"}
	}
	body, err := json.Marshal(config)
	if err != nil {
		return "", err
	}
	d.told.Store(true)
	c, err := d.Engine.CreateContainer(ctx, d.name, body)
	if answered(ctx, err) {
		d.knows(func(r *undo.Record) { r.ContainerMade(d.name, c.ID) })
	}
	return c.ID, err
}

// gate waits until it is known whether the container runs.
func (d *drill) gate(ctx context.Context, id string) (*failure.Error, error) {
	began := time.Now()
	for {
		d.progress(events.StepGate)
		c, err := d.Engine.Inspect(ctx, id)
		if err != nil {
			return nil, failure.At(events.StepGate, err, "look at the container of point %s", d.Item.Point)
		}
		ran := time.Since(began)
		switch {
		case c.State != events.StateRunning && c.State != events.StatePaused && c.State != events.StateCreated:
			return d.failed(events.StepGate, events.CodeNotHealthy, "a container of it ended after %s, with exit code %d%s",
				ran.Round(100*time.Millisecond), c.ExitCode, d.lacking()), nil
		case c.Health == engine.HealthHealthy, c.Health == engine.HealthNone && ran >= runBound:
			return nil, nil
		case c.Health == engine.HealthUnhealthy, ran >= healthBound:
			return d.failed(events.StepGate, events.CodeNotHealthy, "a container of it is %s by its health check after %s%s",
				c.Health, ran.Round(100*time.Millisecond), d.lacking()), nil
		}
		select {
		case <-time.After(pollDelay):
		case <-ctx.Done():
			return nil, failure.At(events.StepGate, context.Cause(ctx), "look at the container of point %s", d.Item.Point)
		}
	}
}

// lacking says what the container had and a drill has not.
func (d *drill) lacking() string {
	text := "; a drill has no network, no volumes and nothing of the host, which it may need"
	if n := len(d.manifest.NotIncluded); n > 0 {
		text += fmt.Sprintf(" (of its mounts %d are not in the point)", n)
	}
	return text
}

// failed is the error of a point whose bytes are whole, and of which no container runs.
func (d *drill) failed(step events.Step, code events.Code, format string, args ...any) *failure.Error {
	message := fmt.Sprintf(format, args...)
	d.found = append(d.found, events.Finding{Condition: events.ConditionNotRunning, Message: message})
	return &failure.Error{Step: step, Code: code, Found: d.found,
		Err: fmt.Errorf("the point of %s %s is stored whole, but %s", d.Item.Item.Kind, d.Item.Item.Name, message)}
}

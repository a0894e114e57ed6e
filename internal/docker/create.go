package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"holdfast.io/holdfast/internal/engine"
)

// rawJSON is JSON that is sent as it is.
type rawJSON = json.RawMessage

// CreateContainer implements [engine.Creator].
func (e *Engine) CreateContainer(ctx context.Context, name string, body []byte) (engine.Created, error) {
	var created struct {
		ID       string `json:"Id"`
		Warnings []string
	}
	err := e.post(ctx, "/containers/create", url.Values{"name": {name}}, rawJSON(body), &created)
	if answer, ok := errors.AsType[*answerError](err); ok {
		switch answer.status {
		case http.StatusConflict:
			return engine.Created{}, fmt.Errorf("%w: %w", engine.ErrNameTaken, err)
		case http.StatusBadRequest:
			return engine.Created{}, fmt.Errorf("%w: %w", engine.ErrRefusedConfig, err)
		}
	}
	if err != nil {
		return engine.Created{}, err
	}
	if !fullID.MatchString(created.ID) {
		return engine.Created{}, badAnswer("it says that container %s is made, and not which it is (%q)", name, brief(created.ID))
	}
	return engine.Created{ID: created.ID, Warnings: created.Warnings}, nil
}

// RenameContainer implements [engine.Creator].
func (e *Engine) RenameContainer(ctx context.Context, id, name string) error {
	err := e.api.ContainerRename(ctx, id, name)
	taken := errdefs.IsConflict(err)
	if err = e.translate(err); err == nil {
		return nil
	}
	// An Engine refuses a name that the container has already, in one way or another.
	if d, failure := e.Inspect(ctx, id); failure == nil && d.Name == name {
		return nil
	}
	if taken {
		return fmt.Errorf("%w: %w", engine.ErrNameTaken, err)
	}
	return err
}

// SetRestartPolicy implements [engine.Creator].
func (e *Engine) SetRestartPolicy(ctx context.Context, id string, p engine.RestartPolicy) error {
	_, err := e.api.ContainerUpdate(ctx, id, container.UpdateConfig{RestartPolicy: container.RestartPolicy{
		Name: container.RestartPolicyMode(p.Name), MaximumRetryCount: p.MaximumRetries}})
	return e.translate(err)
}

// RemoveStopped implements [engine.Creator].
func (e *Engine) RemoveStopped(ctx context.Context, id string) error {
	err := e.api.ContainerRemove(ctx, id, container.RemoveOptions{Force: false, RemoveVolumes: false})
	conflict := errdefs.IsConflict(err)
	switch err = e.translate(err); {
	case err == nil, errors.Is(err, engine.ErrNotFound):
		return nil
	case conflict && strings.Contains(err.Error(), "already in progress"):
		return e.gone(ctx, id)
	case conflict:
		return fmt.Errorf("%w: %w", engine.ErrRunning, err)
	}
	return err
}

// lookAgain is how long is waited before looking again whether a container is gone
// that somebody else removes.
const lookAgain = 100 * time.Millisecond

// gone waits until a container is gone.
func (e *Engine) gone(ctx context.Context, id string) error {
	for {
		if _, err := e.Inspect(ctx, id); errors.Is(err, engine.ErrNotFound) {
			return nil
		} else if err != nil {
			return err
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// answerError is an error that the Engine itself answered to a call that the Docker
// client does not make.
type answerError struct {
	status  int
	message string
}

func (e *answerError) Error() string { return e.message }

// post makes a call past the Docker client, which knows the members of its own version
// of the API only and drops all others. A nil answer is not read.
func (e *Engine) post(ctx context.Context, path string, query url.Values, body, answer any) error {
	if err := e.negotiate(ctx); err != nil {
		return err
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode the body of POST %s: %w", path, err)
	}
	target := e.base.JoinPath("/v"+e.api.ClientVersion(), path)
	target.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := e.api.HTTPClient().Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err = e.translate(err); errors.Is(err, engine.ErrRefused) || errors.Is(err, engine.ErrEngineUnavailable) {
			return err
		}
		return e.unavailable(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return e.unavailable(err)
	case resp.StatusCode >= http.StatusBadRequest:
		return e.answered(resp.StatusCode, text)
	case answer == nil:
		return nil
	}
	if err := json.Unmarshal(text, answer); err != nil {
		return badAnswer("its answer to POST %s cannot be read: %s", path, brief(err.Error()))
	}
	return nil
}

// answered is the error that the Engine answered.
func (e *Engine) answered(status int, body []byte) error {
	var answer struct{ Message string }
	_ = json.Unmarshal(body, &answer) // answers has looked at it
	err := &answerError{status: status, message: brief(answer.Message)}
	switch {
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", engine.ErrNotFound, err)
	case strings.Contains(answer.Message, "no space left on device"):
		return fmt.Errorf("%w: %w", engine.ErrEngineFull, err)
	}
	return err
}

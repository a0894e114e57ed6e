package docker

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"holdfast.io/holdfast/internal/engine"
)

// Push implements [engine.Registries].
func (e *Engine) Push(ctx context.Context, reference string, auth engine.Credentials) error {
	header, err := authHeader(auth)
	if err != nil {
		return err
	}
	r, err := e.api.ImagePush(ctx, reference, image.PushOptions{RegistryAuth: header})
	if err == nil {
		defer r.Close()
		_, err = streamed(r, nil)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	told, ok := errors.AsType[*toldError](err)
	if !ok {
		return e.translate(err)
	}
	// A classic store tells it in a text, and so may a registry.
	if _, gone := e.InspectImage(ctx, reference); errors.Is(gone, engine.ErrNotFound) {
		return gone
	}
	return fmt.Errorf("push the image: %s", brief(told.message)) // a disk that it says is full need not be the Engine's
}

// LookUp implements [engine.Registries].
func (e *Engine) LookUp(ctx context.Context, reference string, auth engine.Credentials) error {
	header, err := authHeader(auth)
	if err != nil {
		return err
	}
	_, err = e.api.DistributionInspect(ctx, reference, header)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if refusal, ok := errors.AsType[*engine.RefusedError](err); ok && refusal.Status == http.StatusUnauthorized {
		return fmt.Errorf("the registry does not take the credentials: %s", refusal.Answer)
	}
	return e.translate(err)
}

func authHeader(auth engine.Credentials) (string, error) {
	header, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: auth.User, Password: auth.Password})
	if err != nil {
		return "", fmt.Errorf("encode the credentials for a registry: %w", err)
	}
	return header, nil
}

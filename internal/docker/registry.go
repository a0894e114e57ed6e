package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/api/types/registry"

	"holdfast.io/holdfast/internal/engine"
)

// Push implements [engine.Registries].
func (e *Engine) Push(ctx context.Context, reference string, auth engine.Credentials, progress func()) error {
	header, err := authHeader(auth)
	if err != nil {
		return err
	}
	r, err := e.api.ImagePush(ctx, reference, image.PushOptions{RegistryAuth: header})
	told, err := e.moved(ctx, r, err, progress)
	if told == nil {
		return err
	}
	// A classic store tells it in a text, and so may a registry.
	if _, gone := e.InspectImage(ctx, reference); errors.Is(gone, engine.ErrNotFound) {
		return gone
	}
	return fmt.Errorf("push the image: %s", brief(told.message)) // a disk that it says is full need not be the Engine's
}

// Pull implements [engine.Registries].
func (e *Engine) Pull(ctx context.Context, reference string, auth engine.Credentials) error {
	header, err := authHeader(auth)
	if err != nil {
		return err
	}
	r, err := e.api.ImagePull(ctx, reference, image.PullOptions{RegistryAuth: header})
	told, err := e.moved(ctx, r, err, func() {})
	if told == nil {
		return err
	}
	return fmt.Errorf("pull the image: %s", brief(told.message)) // a disk that it says is full need not be the Engine's
}

// moved reads what the Engine says while it moves an image, to the end. told is what it says that
// went wrong, which is for the caller to put in words; it is nil for any other error, and for none.
func (e *Engine) moved(ctx context.Context, says io.ReadCloser, err error, progress func()) (told *toldError, _ error) {
	if err == nil {
		defer says.Close()
		_, err = streamed(says, func(string) bool { progress(); return false })
	}
	switch {
	case err == nil:
		return nil, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	if told, ok := errors.AsType[*toldError](err); ok {
		return told, err
	}
	return nil, e.translate(err)
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
	header, err := registry.EncodeAuthConfig(registry.AuthConfig{Username: auth.User, Password: auth.Password,
		RegistryToken: auth.RegistryToken, IdentityToken: auth.IdentityToken})
	if err != nil {
		return "", fmt.Errorf("encode the credentials for a registry: %w", err)
	}
	return header, nil
}

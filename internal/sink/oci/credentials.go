package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
)

var errCredentials = errors.New("the credentials cannot be read")

// credential returns what the registry is to know this machine by. It is read when it is needed, so
// files that are renewed count.
func (s *Store) credential(ctx context.Context, host string) (c auth.Credential, err error) {
	if host != s.ref.Host() {
		return auth.EmptyCredential, nil
	}
	o := s.options
	switch {
	case o.UserFile != "":
		if c.Username, err = secret(o.UserFile); err == nil {
			c.Password, err = secret(o.PasswordFile)
		}
	case o.Config != "":
		if _, err = os.Stat(o.Config); err == nil {
			c, err = fromStore(ctx, host, func() (*credentials.DynamicStore, error) {
				return credentials.NewStore(o.Config, credentials.StoreOptions{})
			})
		}
	case os.Getenv("DOCKER_CONFIG") != "" || os.Getenv("HOME") != "":
		c, err = fromStore(ctx, host, func() (*credentials.DynamicStore, error) {
			return credentials.NewStoreFromDocker(credentials.StoreOptions{})
		})
	}
	if err != nil {
		return auth.EmptyCredential, fmt.Errorf("%w: %w", errCredentials, err)
	}
	return c, nil
}

func fromStore(ctx context.Context, host string, open func() (*credentials.DynamicStore, error)) (auth.Credential, error) {
	store, err := open()
	if err != nil {
		return auth.EmptyCredential, err
	}
	return store.Get(ctx, credentials.ServerAddressFromHostname(host))
}

func secret(file string) (string, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "", fmt.Errorf("%s is empty", file)
	}
	return text, nil
}

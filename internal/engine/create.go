package engine

import (
	"context"
	"errors"
)

// Errors of making and removing containers.
var (
	// ErrNameTaken: another container, network or volume has the name.
	ErrNameTaken = errors.New("the name is taken")
	// ErrRefusedConfig: the Engine does not accept a container's configuration.
	ErrRefusedConfig = errors.New("the Engine does not accept this configuration")
	// ErrRunning: a container stays, as it runs or is paused.
	ErrRunning = errors.New("the container runs")
)

// Creator makes containers, and changes what of them can be changed. Ids are always
// full. It may be used by several goroutines.
type Creator interface {
	// CreateContainer makes a container that is not started. The body is that of the
	// API's call (POST /containers/create), and is sent as it is: members that only
	// newer Engines know are not lost. It reports ErrNameTaken; ErrRefusedConfig;
	// ErrNotFound if the image, or a container that the body names, is not there. When
	// ctx ends the container may have been made: look for its name.
	CreateContainer(ctx context.Context, name string, body []byte) (Created, error)
	// RenameContainer gives a container another name, whatever its state. It is no
	// error if that is its name. It reports ErrNameTaken.
	RenameContainer(ctx context.Context, id, name string) error
	// SetRestartPolicy changes when the Engine starts a container by itself.
	SetRestartPolicy(ctx context.Context, id string, p RestartPolicy) error
	// RemoveStopped removes a container that does not run, and returns when it is gone.
	// Its volumes stay. It is no error if it is not there. One that runs or is paused
	// stays, and that is ErrRunning.
	RemoveStopped(ctx context.Context, id string) error
}

// Created is a container that was made.
type Created struct {
	ID string
	// Warnings are what the Engine says about its configuration.
	Warnings []string
}

// RestartPolicy says when an Engine starts a container by itself.
type RestartPolicy struct {
	// Name is the Engine's word: no, always, on-failure, unless-stopped; empty means no.
	Name string
	// MaximumRetries bounds on-failure; 0 for no bound.
	MaximumRetries int
}

// Health is what a container's own health check says of it.
type Health string

// HealthNone: it has no health check. HealthStarting: it was not healthy yet, and has
// time left to become so.
const (
	HealthNone      Health = ""
	HealthStarting  Health = "starting"
	HealthHealthy   Health = "healthy"
	HealthUnhealthy Health = "unhealthy"
)

package backup

import (
	"context"
	"errors"
	"fmt"
)

// Causes as those who run items cancel them with.
var (
	ErrCancelled = errors.New("the job was cancelled")
	ErrTimeout   = fmt.Errorf("the timeout has passed (%w)", context.DeadlineExceeded)
	ErrStopping  = errors.New("the worker stops")
	ErrLost      = errors.New("another worker serves the host")
)

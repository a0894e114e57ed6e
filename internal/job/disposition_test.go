package job

import (
	"context"
	"errors"
	"testing"

	"holdfast.io/holdfast/internal/lease"
	"holdfast.io/holdfast/internal/ledger"
)

func TestDisposition(t *testing.T) {
	running := t.Context()
	ended := func(cause error) context.Context {
		ctx, cancel := context.WithCancelCause(running)
		cancel(cause)
		return ctx
	}
	for name, c := range map[string]struct {
		base context.Context
		err  error
		want Disposition
	}{
		"all is said":                          {running, nil, Done},
		"all is said as the worker stops":      {ended(ErrStopping), nil, Done},
		"something is away":                    {running, ErrAway, RetryLater},
		"an event cannot be stored":            {running, errors.New("broken"), RetryLater},
		"the worker stops":                     {ended(ErrStopping), ErrStopping, Interrupted},
		"the worker stops for any reason":      {ended(context.Canceled), errors.New("broken"), Interrupted},
		"the host is served by another worker": {ended(lease.ErrLost), context.Canceled, Superseded},
		"the lease is lost":                    {running, lease.ErrLost, Superseded},
		"the job is another worker's":          {running, errors.Join(errors.New("broken"), ledger.ErrLost), Superseded},
		"both stopping and another's work":     {ended(ErrStopping), ledger.ErrLost, Superseded},
	} {
		if got := dispositionOf(c.base, c.err); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

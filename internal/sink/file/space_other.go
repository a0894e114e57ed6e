//go:build !linux

package file

import (
	"context"
	"errors"
	"fmt"
)

// Free is known on Linux only.
func (s *Sink) Free(context.Context) (int64, error) {
	return 0, fmt.Errorf("the free space of %s: %w", s.dir, errors.ErrUnsupported)
}

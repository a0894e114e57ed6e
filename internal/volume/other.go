//go:build !linux

package volume

import (
	"context"
	"errors"
	"io"
)

// errNotHere: trees are read and written in containers, which run Linux.
var errNotHere = errors.New("volumes are read and written on Linux only")

// Archive is for Linux only.
func Archive(context.Context, string, io.Writer) (Report, error) { return Report{}, errNotHere }

// Extract is for Linux only.
func Extract(context.Context, io.Reader, string) (Report, error) { return Report{}, errNotHere }

// IsEmpty is for Linux only.
func IsEmpty(string) (bool, error) { return false, errNotHere }

// Clear is for Linux only.
func Clear(context.Context, string) error { return errNotHere }

//go:build !linux

package lifeline

import (
	"context"
	"net/netip"
)

// isNear reports whether an address may be one of the worker's host. It cannot be
// told here, so it may be.
func isNear(context.Context, netip.AddrPort) bool { return true }

// peerProcess returns the process that answers at a socket file; 0 if that cannot
// be told.
func peerProcess(context.Context, string) int { return 0 }

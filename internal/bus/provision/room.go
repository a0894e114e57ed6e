package provision

import (
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"holdfast.io/holdfast/internal/bus"
)

// Codes of JetStream's API that the client library does not name.
const (
	codeAccountLimit jetstream.ErrorCode = 10002
	codeNoPeers      jetstream.ErrorCode = 10005
	codeStorageLimit jetstream.ErrorCode = 10047
)

// noRoom reports whether a stream was refused because its bytes cannot be
// reserved.
func noRoom(err error) bool {
	switch bus.APICode(err) {
	case codeAccountLimit, codeStorageLimit:
		return true
	case codeNoPeers:
		return strings.Contains(err.Error(), "insufficient storage")
	default:
		return false
	}
}

package bustest

import (
	"testing"

	"go.uber.org/goleak"
)

// VerifyNoLeaks runs the tests of a package that runs servers in its process, and
// fails if they leave goroutines behind.
func VerifyNoLeaks(m *testing.M) {
	// The server waits there for its own answer for up to 30 s, and does not hear
	// that it is shut down meanwhile.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server.(*stream).trySetupSourceConsumer.func3"))
}

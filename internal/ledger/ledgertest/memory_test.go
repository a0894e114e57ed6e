package ledgertest_test

import (
	"testing"

	"holdfast.io/holdfast/internal/ledger"
	"holdfast.io/holdfast/internal/ledger/ledgertest"
)

func TestMemoryIsAStore(t *testing.T) {
	memory := ledgertest.NewMemory()
	ledgertest.Run(t, func(*testing.T) ledger.Store { return memory })
}

package undotest_test

import (
	"testing"

	"holdfast.io/holdfast/internal/undo"
	"holdfast.io/holdfast/internal/undo/undotest"
)

func TestMemory(t *testing.T) {
	undotest.Run(t, func(*testing.T) (first, second undo.Store) {
		m := &undotest.Memory{}
		return m, m
	})
}

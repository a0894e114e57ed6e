package object_test

import (
	"testing"

	"holdfast.io/holdfast/internal/sink/object/objecttest"
)

func TestConformance(t *testing.T) {
	objecttest.Run(t, func(*testing.T) objecttest.Place { return objecttest.NewMemory() })
}

func TestLockingConformance(t *testing.T) {
	objecttest.RunLocking(t, func(*testing.T) objecttest.LockingPlace { return objecttest.NewLocking() })
}

package kv_test

import (
	"testing"

	"holdfast.io/holdfast/internal/bus/bustest"
)

const host = bustest.Host

func TestMain(m *testing.M) { bustest.VerifyNoLeaks(m) }

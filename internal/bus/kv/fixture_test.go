package kv_test

import (
	"flag"
	"testing"

	"holdfast.io/holdfast/internal/bus/bustest"
)

const host = bustest.Host

// Nearly all of these tests wait for keys to be forgotten, so more run at a time than
// there are processors.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	bustest.VerifyNoLeaks(m)
}

package enginetest_test

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFake(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Bench { return bench{enginetest.NewFake("host")} })
}

// bench is a Fake as the suite uses it.
type bench struct{ *enginetest.Fake }

func (b bench) Make(_ testing.TB, s enginetest.Spec) string { return b.Add(s, events.StateCreated) }

func (b bench) MakeImage(_ testing.TB, refs ...string) string { return b.AddImage(refs...) }

func (b bench) Write(_ testing.TB, id, file, content string) {
	b.Fake.Write(id, strings.TrimPrefix(file, "/"), []byte(content))
}

func (b bench) Kill(_ testing.TB, id string) { b.Fake.Kill(id) }

func (b bench) Refuse(_ testing.TB, calls ...engine.Call) { b.Fake.Refuse(calls...) }

package enginetest_test

import (
	"io"
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

// As one that keeps images as containerd does.
func TestFakeThatStreams(t *testing.T) {
	enginetest.Run(t, func(*testing.T) enginetest.Bench {
		f := enginetest.NewFake("host")
		f.SetStreams()
		return bench{f}
	})
}

// bench is a Fake as the suite uses it.
type bench struct{ *enginetest.Fake }

func (b bench) Make(t testing.TB, s enginetest.Spec) string {
	id := b.Add(s, events.StateCreated)
	t.Cleanup(func() {
		if b.State(id) != "" {
			b.Fake.Remove(id)
		}
	})
	return id
}

func (b bench) MakeImage(_ testing.TB, refs ...string) string { return b.AddImage(refs...) }

func (b bench) Write(_ testing.TB, id, file, content string) {
	b.Fake.Write(id, strings.TrimPrefix(file, "/"), []byte(content))
}

func (b bench) MakeVolume(_ testing.TB, name string, labels map[string]string) {
	b.AddVolume(engine.Volume{Name: name, Labels: labels})
}

func (b bench) DropVolume(_ testing.TB, name string) { b.Fake.DropVolume(name) }

func (b bench) Kill(_ testing.TB, id string) { b.Fake.Kill(id) }

func (b bench) Remove(_ testing.TB, id string) { b.Fake.Remove(id) }

func (b bench) Folder(testing.TB) string {
	b.AddFolder("/folder")
	return "/folder"
}

func (b bench) HelperFiles(testing.TB) io.Reader { return strings.NewReader("an archive") }

func (b bench) Refuse(_ testing.TB, calls ...engine.Call) { b.Fake.Refuse(calls...) }

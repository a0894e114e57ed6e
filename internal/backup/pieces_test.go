package backup_test

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/backup"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/volume"
)

// sealedLayers is a sink of the layered format that encrypts, and what opens what is there.
func sealedLayers(t *testing.T, m *sinktest.Memory) (to sink.Sink, reader *seal.Seal) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	mustDo(t, err)
	dir := t.TempDir()
	names, file := filepath.Join(dir, "names"), filepath.Join(dir, "id")
	mustDo(t, os.WriteFile(names, []byte(base64.StdEncoding.EncodeToString([]byte(rand.Text()+rand.Text()))), 0o600))
	mustDo(t, os.WriteFile(file, []byte(identity.String()+"\n"), 0o600))
	s, err := seal.New(seal.Options{Recipients: []string{identity.Recipient().String()}, NameKeyFile: names})
	mustDo(t, err)
	reader, err = seal.New(seal.Options{IdentityFile: file})
	mustDo(t, err)
	return &layered.Sink{Sink: &seal.Sealed{Sink: m, Seal: s}}, reader
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// several are sinks that an item is stored in at once.
type several struct {
	*bench
	legs    []backup.Leg
	sinks   []*sinktest.Memory
	readers []*seal.Seal
}

// inSeveral has items stored in layers, in layers encrypted, and whole.
func (b *bench) inSeveral() *several {
	s := &several{bench: b, sinks: []*sinktest.Memory{b.sink, sinktest.NewMemory(), sinktest.NewMemory()}}
	sealed, reader := sealedLayers(b.T, s.sinks[1])
	s.legs = []backup.Leg{in("default", &layered.Sink{Sink: s.sinks[0]}), in("sealed", sealed), in("whole", s.sinks[2])}
	s.readers = []*seal.Seal{nil, reader, nil}
	s.sweeper.Sinks = sinks{"default": s.sinks[0], "sealed": s.sinks[1], "whole": s.sinks[2]}
	return s
}

// run stores the nth point of an item.
func (s *several) run(n int, task backup.Task) []backup.Outcome {
	task.Point, task.Legs = fmt.Sprintf("20260101T00000%dZ-00000000", n), s.legs
	return s.runner.Run(s.Context(), task)
}

// hang has the nth sink take a day for each write.
func (s *several) hang(n int) { s.slow(n, sleep(24*time.Hour)) }

// slow has each write to the nth sink wait before.
func (s *several) slow(n int, wait func()) {
	open := s.legs[n].Open
	s.legs[n].Open = func(ctx context.Context) (sink.Sink, error) {
		to, err := open(ctx)
		return slowSink{to, wait}, err
	}
}

// wantAllBut holds that a point is in all sinks but this one.
func (s *several) wantAllBut(fails int, all []backup.Outcome, mustHold func(n int, m *point.Manifest)) {
	s.Helper()
	for i, o := range all {
		if (o.Err != nil) != (i == fails) {
			s.Errorf("sink %d fails, and in sink %d: %v", fails, i, o.Err)
		}
		if o.Err == nil {
			mustHold(i, o.Result.Manifest)
		}
	}
	for key := range s.sinks[fails].Contents() {
		if strings.HasPrefix(key, sink.PointsName) {
			s.Errorf("the sink that failed has %s", key)
		}
	}
}

// mustHold reads the volume of a point in the nth sink to its end.
func (s *several) mustHold(n int, m *point.Manifest) {
	s.Helper()
	from := pieces.Source{Manifest: m, Open: pieces.In(s.sinks[n]), Seal: s.readers[n]}
	volumes := m.Volumes()
	r, err := from.Volume(s.Context(), &volumes[0])
	if err != nil {
		s.Fatal(err)
	}
	defer r.Close()
	if _, err := volume.Check(r); err != nil {
		s.Errorf("in sink %d: %v", n, err)
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		s.Errorf("in sink %d: %v", n, err)
	}
}

// A volume is read once for several sinks, each of which has it as it stores volumes: what
// changes little adds little to those in layers, whatever the others are.
func TestPiecesInSeveralSinks(t *testing.T) {
	withBench(t, func(b *bench) {
		v := b.withVolumes()
		planned := v.volume("data", "note")
		content := make([]byte, 4<<20)
		_, _ = rand.Read(content)
		file := filepath.Join(v.folders["data"], "big")
		mustDo(b.T, os.WriteFile(file, content, 0o600))
		reads := 0
		v.reading = func(engine.HelperSpec) { reads++ }
		s := b.inSeveral()
		for n := range 2 {
			copy(content[1<<20:], fmt.Sprint("changed ", n))
			mustDo(b.T, os.WriteFile(file, content, 0o600))
			for i, o := range s.run(n, v.alone(planned)) {
				if o.Err != nil {
					b.Fatalf("point %d in sink %d: %v", n, i, o.Err)
				}
				m := o.Result.Manifest
				whole := m.Artifact(point.MediaTypePieces) == nil
				if whole != (i == 2) {
					b.Errorf("in sink %d the volume is whole: %t", i, whole)
				}
				if added := m.Added(); (added < 1<<20) != (n == 1 && !whole) {
					b.Errorf("point %d in sink %d adds %d bytes", n, i, added)
				}
				s.mustHold(i, m)
			}
		}
		if reads != 2 {
			b.Errorf("the volume was read %d times for 2 points", reads)
		}
	})
}

// One sink that fails in the middle does not end the others.
func TestPiecesWhereOneSinkFails(t *testing.T) {
	broken := errors.New("broken")
	for fails := range 3 {
		withBench(t, func(b *bench) {
			v := b.withVolumes()
			planned := v.volume("data", "note")
			content := make([]byte, 8<<20)
			_, _ = rand.Read(content)
			mustDo(b.T, os.WriteFile(filepath.Join(v.folders["data"], "big"), content, 0o600))
			s := b.inSeveral()
			s.sinks[fails].Fail(b, sinktest.OpWrite, 3, broken)
			s.wantAllBut(fails, s.run(0, v.alone(planned)), s.mustHold)
		})
	}
}

// A sink that does not take its part is left out after a second, however it hangs, and the others
// have the volume.
func TestPiecesWhereOneSinkHangs(t *testing.T) {
	for hangs := range 3 {
		withBench(t, func(b *bench) {
			b.runner.StallTimeout = noProgress
			v := b.withVolumes()
			planned := v.volume("data", "note")
			content := make([]byte, 16<<20)
			_, _ = rand.Read(content)
			mustDo(b.T, os.WriteFile(filepath.Join(v.folders["data"], "big"), content, 0o600))
			s := b.inSeveral()
			s.hang(hangs)
			for i, o := range s.run(0, v.alone(planned)) {
				if (o.Err != nil) != (i == hangs) {
					b.Errorf("sink %d hangs, and in sink %d: %v", hangs, i, o.Err)
				}
			}
			time.Sleep(100 * 24 * time.Hour) // until what hangs has ended
		})
	}
}

package verify_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func TestAWholePointPasses(t *testing.T) {
	for _, level := range []events.VerifyLevel{events.VerifyQuick, events.VerifyFull} {
		b := newBench(t)
		s := b.container("web-1")
		r, err := b.verify(b.store(s), level)
		if err != nil {
			t.Fatalf("%s: %v", level, err)
		}
		want := events.Checked{Objects: 2}
		if level == events.VerifyFull {
			want.Layers = s.Image.Layers
			for _, a := range s.Artifacts {
				want.Bytes += a.Size
			}
		}
		if r.Checked != want || !r.Previous.Time.IsZero() || len(r.Warnings) > 0 {
			t.Errorf("%s: checked is %+v, previous %+v, the warnings are %+v", level, r.Checked, r.Previous, r.Warnings)
		}
		if m := b.mark(s.dir); m == nil || !m.OK || m.Level != string(level) || m.Job != jobID || m.Host != "host" || len(m.Problems) > 0 {
			t.Errorf("%s: the mark is %+v", level, m)
		}
	}
}

// A deeper verification is remembered beyond a shallower one that comes after it.
func TestTheMarkRemembersDeeperLevels(t *testing.T) {
	b := newBench(t)
	s := b.container("web-1")
	item := b.store(s)
	for _, level := range []events.VerifyLevel{events.VerifyFull, events.VerifyQuick, events.VerifyQuick} {
		if _, err := b.verify(item, level); err != nil {
			t.Fatal(err)
		}
	}
	if m := b.mark(s.dir); m.FullTime.IsZero() || !m.FullTime.Before(m.Time) || !m.DrillTime.IsZero() {
		t.Errorf("the mark is %+v", m)
	}
}

// Whatever bit is flipped of whatever artifact, a full verification notices it, and
// says where it is if the artifact is compressed, or that its content is whole.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	b := newBench(t)
	s := b.container("web-1")
	s.volume(b)
	for _, name := range []string{point.ImageArchive, point.ContainerConfig, volumeFile} {
		whole := s.files[name]
		for range 10 {
			bit := rnd.IntN(8 * len(whole))
			s.files[name] = bytes.Clone(whole)
			s.files[name][bit/8] ^= 1 << (bit % 8)
			b.sink = sinktest.NewMemory()
			item := b.store(s)
			if _, err := b.verify(item, events.VerifyQuick); err != nil {
				t.Errorf("bit %d of %s: quick: %v", bit, name, err)
			}
			_, err := b.verify(item, events.VerifyFull)
			e := b.wantError(err, events.CodePointDamaged, false)
			for _, f := range e.Found {
				is := strings.HasSuffix(f.Key, "/"+name)
				if is != (f.Condition == events.ConditionDamaged) {
					t.Errorf("bit %d of %s: %s is %s: %s", bit, name, f.Key, f.Condition, f.Message)
				}
				located := f.From <= int64(bit/8) && int64(bit/8) < f.To && f.BadBytes > 0
				if is && name != point.ContainerConfig && !located && !strings.Contains(f.Message, "what it holds is whole") {
					t.Errorf("byte %d of %s is damaged, and found is %d to %d: %s", bit/8, name, f.From, f.To, f.Message)
				}
			}
		}
		s.files[name] = whole
	}
}

// TestDamage is the table of what can be wrong with a point, and of what is said of it.
func TestDamage(t *testing.T) {
	cases := map[string]struct {
		do    func(b *bench, s *stored)
		quick bool   // it is noticed by a quick verification
		says  string // in the message
	}{
		"the archive is cut short": {func(_ *bench, s *stored) { s.files[point.ImageArchive] = s.files[point.ImageArchive][:200] }, true, "it has 200 bytes instead of"},
		"something behind the archive": {func(_ *bench, s *stored) {
			s.files[point.ImageArchive] = append(s.files[point.ImageArchive], "more"...)
		}, true,
			"4 B of"},
		"the archive is missing":       {func(_ *bench, s *stored) { delete(s.files, point.ImageArchive) }, true, "it is not there"},
		"the configuration is missing": {func(_ *bench, s *stored) { delete(s.files, point.ContainerConfig) }, true, "good is image.tar.zst"},
		"a volume is missing":          {func(_ *bench, s *stored) { delete(s.files, volumeFile) }, true, "pgdata.tar.zst: it is not there"},
		"archives of two points are swapped": {func(b *bench, s *stored) {
			other := b.container("db")
			s.files[point.ImageArchive] = other.files[point.ImageArchive]
		}, false, "is not what it should be: the image archive is corrupt: it holds"},
		"configurations of two points are swapped": {func(b *bench, s *stored) {
			other := b.container("web-2")
			s.files[point.ContainerConfig] = other.files[point.ContainerConfig]
		}, false, "its digest is"},
		"it was stored with another's image": {func(b *bench, s *stored) {
			other := b.container("db")
			s.Image = other.Image
		}, false, "it was stored so"},
		"it was stored with another's configuration": {func(b *bench, s *stored) {
			other := b.container("web-2")
			i := slices.IndexFunc(s.Artifacts, func(a events.Artifact) bool { return a.MediaType == point.MediaTypeContainerConfig })
			j := slices.IndexFunc(other.Artifacts, func(a events.Artifact) bool { return a.MediaType == point.MediaTypeContainerConfig })
			key := s.Artifacts[i].Key
			s.Artifacts[i], s.files[point.ContainerConfig] = other.Artifacts[j], other.files[point.ContainerConfig]
			s.Artifacts[i].Key = key
		}, false, `it is the configuration of container "web-2"`},
		"the uncompressed size is another": {func(_ *bench, s *stored) { s.Artifacts[1].UncompressedSize++ }, false, "uncompressed instead of"},
		"the number of layers is another":  {func(_ *bench, s *stored) { s.Image.Layers++ }, false, "layers, and the manifest says"},
		"the configuration is another's":   {func(_ *bench, s *stored) { s.Image.ConfigDigest = digest(nil) }, false, "the image's configuration is"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			s := b.container("web-1")
			s.volume(b)
			c.do(b, s)
			item := b.store(s)
			_, err := b.verify(item, events.VerifyQuick)
			wrongSize := slices.ContainsFunc(s.Artifacts, func(a events.Artifact) bool {
				return a.Size != int64(len(s.files[strings.TrimPrefix(a.Key, s.dir+"/")]))
			})
			if c.quick || wrongSize {
				_ = b.wantError(err, events.CodePointDamaged, false)
			} else if err != nil {
				t.Errorf("quick: %v", err)
			}
			_, err = b.verify(item, events.VerifyFull)
			e := b.wantError(err, events.CodePointDamaged, false)
			t.Logf("%v", e)
			if !strings.Contains(e.Error(), c.says) {
				t.Errorf("the message is %q, want %q in it", e, c.says)
			}
			m := b.mark(s.dir)
			if m == nil || m.OK || len(m.Problems) == 0 {
				t.Fatalf("the mark is %+v", m)
			}
			again := b.store(b.container("other"))
			if _, err := b.verify(again, events.VerifyFull); err != nil {
				t.Errorf("another point: %v", err)
			}
		})
	}
}

func TestManifests(t *testing.T) {
	b := newBench(t)
	foreign := b.container("web-1")
	foreign.dir = point.Dir("host", events.ItemContainer, "web-2", foreign.ID)
	_, err := b.verify(b.store(foreign), events.VerifyQuick)
	if e := b.wantError(err, events.CodePointDamaged, false); !strings.Contains(e.Error(), "points/host/container/web-1/") {
		t.Errorf("a manifest in another's folder: %v", e)
	}
	damaged := b.container("db")
	_, err = b.verify(b.storeAs(damaged, []byte(`{"formatVersion":1`)), events.VerifyFull)
	if e := b.wantError(err, events.CodePointDamaged, false); len(e.Found) != 1 || e.Found[0].Condition != events.ConditionDamaged {
		t.Errorf("found is %+v", e.Found)
	}
	if m := b.mark(damaged.dir); m == nil || m.OK {
		t.Errorf("the mark is %+v", m)
	}
	newer := b.container("new")
	_, err = b.verify(b.storeAs(newer, []byte(`{"formatVersion":99}`)), events.VerifyFull)
	_ = b.wantError(err, events.CodePointNewer, false)
	if m := b.mark(newer.dir); m != nil {
		t.Errorf("of a point that cannot be judged the mark is %+v", m)
	}
}

// What this version does not know of a point is proven by its digest.
func TestUnknownMediaType(t *testing.T) {
	b := newBench(t)
	s := b.container("web-1")
	s.plain("new.bin", "application/vnd.holdfast.new", "", []byte("something new"))
	item := b.store(s)
	r, err := b.verify(item, events.VerifyFull)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0].Message, "only the digest was checked") {
		t.Errorf("the warnings are %+v", r.Warnings)
	}
}

// What is wrong with the sink says nothing of the point, and is worth a retry.
func TestTheSinkFails(t *testing.T) {
	for _, op := range []sinktest.Op{sinktest.OpOpen, sinktest.OpRead, sinktest.OpStat, sinktest.OpMark} {
		for _, cause := range []error{sink.ErrUnavailable, io.ErrUnexpectedEOF, errors.New("broken")} {
			for nth := 1; nth <= 3; nth++ {
				b := newBench(t)
				s := b.container("web-1")
				item := b.store(s)
				if op == sinktest.OpMark && nth > 1 || op == sinktest.OpStat && nth > 2 {
					continue
				}
				skip := 0
				if op == sinktest.OpOpen { // the mark before is not needed
					skip = 1
				}
				b.sink.Fail(t, op, nth+skip, cause)
				_, err := b.verify(item, events.VerifyFull)
				code := events.CodeSinkError
				if errors.Is(cause, sink.ErrUnavailable) {
					code = events.CodeSinkUnavailable
				}
				_ = b.wantError(err, code, true)
				if m := b.mark(s.dir); m != nil {
					t.Errorf("%s %d: the mark is %+v", op, nth, m)
				}
				if _, err := b.verify(item, events.VerifyFull); err != nil {
					t.Errorf("%s %d: again: %v", op, nth, err)
				}
			}
		}
	}
}

func TestTheSinkGoesInTheMiddle(t *testing.T) {
	b := newBench(t)
	s := b.container("web-1")
	_, err := b.verifyUntil(t.Context(), b.store(s), events.VerifyFull, func(_ events.Step, read int64) {
		if read > 500 {
			b.sink.Vanish()
		}
	})
	_ = b.wantError(err, events.CodeSinkUnavailable, true)
}

// A point that is pruned while it is verified is gone, and not damaged.
func TestThePointIsRemovedMeanwhile(t *testing.T) {
	for name, named := range map[string]bool{"found": false, "named": true} {
		for _, after := range []int64{0, 200, 600} {
			b := newBench(t)
			s := b.container("web-1")
			item := b.store(s)
			item.Named = named
			removed := false
			_, err := b.verifyUntil(t.Context(), item, events.VerifyFull, func(_ events.Step, read int64) {
				if read >= after && !removed {
					removed = true
					b.must(b.sink.RemovePoint(t.Context(), s.dir))
				}
			})
			code := events.CodeGone
			if named {
				code = events.CodePointNotFound
			}
			if e := b.wantError(err, code, false); len(e.Found) > 0 {
				t.Errorf("%s after %d bytes: found is %+v", name, after, e.Found)
			}
			if len(b.sink.Contents()) > 0 {
				t.Errorf("%s after %d bytes: something lies there: %d objects", name, after, len(b.sink.Contents()))
			}
		}
	}
}

func TestCancelled(t *testing.T) {
	b := newBench(t)
	s := b.container("web-1")
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.verifyUntil(ctx, b.store(s), events.VerifyFull, func(_ events.Step, read int64) {
		if read > 500 {
			cancel()
		}
	})
	_ = b.wantError(err, events.CodeCancelled, true)
	if m := b.mark(s.dir); m != nil {
		t.Errorf("the mark is %+v", m)
	}
}

func TestAPlannedFailureNeedsNoSink(t *testing.T) {
	b := newBench(t)
	item := b.store(b.container("web-1"))
	item.Code, item.Message = events.CodeUnsuitable, "why"
	b.sink.Vanish()
	_, err := b.verify(item, events.VerifyFull)
	_ = b.wantError(err, events.CodeUnsuitable, false)
}

package copies_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/copies"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/object/objecttest"
	"holdfast.io/holdfast/internal/sink/quota"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/internal/stall"
	"holdfast.io/holdfast/internal/step"
)

func TestACopyIsTheSamePoint(t *testing.T) {
	b := newBench(t)
	m := b.store()
	r, err := b.copy()
	b.must(err)
	b.mustBeWhole(m, nil)
	if r.AlreadyThere || r.Protected || len(r.Warnings) > 0 || r.Manifest.ID != m.ID {
		t.Errorf("the result is %+v", r)
	}
	if records, _ := b.records.List(); len(records) > 0 {
		t.Errorf("the records %+v are left", records)
	}
	if r, err = b.copy(); err != nil || !r.AlreadyThere || r.Manifest.ID != m.ID {
		t.Errorf("copied again it is %+v, %v", r, err)
	}
}

func identity(t *testing.T) *age.X25519Identity {
	t.Helper()
	i, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// sealFor encrypts for an identity, and opens with another; nil for none.
func sealFor(t *testing.T, recipient, opens *age.X25519Identity) *seal.Seal {
	t.Helper()
	return sealNamed(t, recipient, opens, "")
}

// Nothing that is encrypted lies in clear anywhere, and what is for the recipients of the
// other sink is so whenever that can be.
func TestEncryption(t *testing.T) {
	one, two := identity(t), identity(t)
	for name, c := range map[string]struct {
		from, to *seal.Seal
		opens    *age.X25519Identity // what opens the copy; nil if it is in clear
		warned   bool
	}{
		"clear to clear":                      {nil, nil, nil, false},
		"clear to recipients":                 {nil, sealFor(t, two, nil), two, false},
		"clear, with identities, to clear":    {sealFor(t, nil, one), sealFor(t, nil, two), nil, false},
		"encrypted to clear":                  {sealFor(t, one, nil), nil, one, false},
		"encrypted, with identities to clear": {sealFor(t, one, one), sealFor(t, nil, one), one, false},
		"the same recipients":                 {sealFor(t, one, one), sealFor(t, one, nil), one, false},
		"other recipients":                    {sealFor(t, one, one), sealFor(t, two, nil), two, false},
		"other recipients, no identity":       {sealFor(t, one, nil), sealFor(t, two, two), one, true},
		"other recipients, another identity":  {sealFor(t, one, two), sealFor(t, two, two), one, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.seals["a"], b.seals["b"] = c.from, c.to
			m := b.store()
			r, err := b.copy()
			b.must(err)
			b.mustBeWhole(m, c.opens)
			warned := slices.Contains(events.WarningCodes(r.Warnings), events.WarningOtherRecipients)
			if warned != c.warned || warned && len(r.Warnings) != len(m.Artifacts)+1 {
				t.Errorf("the warnings are %+v", r.Warnings)
			}
		})
	}
}

// Whatever bit of whatever artifact is another one, however it is copied, the point is not,
// and nothing is left of it.
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	one, two := identity(t), identity(t)
	for way, seals := range map[string]map[string]*seal.Seal{
		"as it is":        {},
		"encrypted":       {"b": sealFor(t, two, nil)},
		"encrypted anew":  {"a": sealFor(t, one, one), "b": sealFor(t, two, nil)},
		"stays encrypted": {"a": sealFor(t, one, nil), "b": sealFor(t, two, nil)},
	} {
		for name := range content {
			for range 5 {
				b := newBench(t)
				b.seals = seals
				at := ""
				b.damage = func(stored string, raw []byte) []byte {
					if strings.TrimSuffix(stored, seal.Suffix) == name {
						bit := rand.IntN(8 * len(raw))
						raw[bit/8] ^= 1 << (bit % 8)
						at = fmt.Sprintf("%s: bit %d of %s", way, bit, stored)
					}
					return raw
				}
				b.store()
				_, err := b.copy()
				b.mustFail(err, events.CodePointDamaged, "in sink a: ")
				b.mustBeNothing()
				if t.Failed() {
					t.Fatal(at)
				}
			}
		}
	}
}

func TestDamage(t *testing.T) {
	for says, damage := range map[string]func(raw []byte) []byte{
		"it has 5 bytes instead of": func(raw []byte) []byte { return raw[:5] },
		"it has more than":          func(raw []byte) []byte { return append(raw, "more"...) },
		"it is not there":           func([]byte) []byte { return nil },
	} {
		b := newBench(t)
		b.damage = func(name string, raw []byte) []byte {
			if name == point.ContainerConfig {
				return damage(raw)
			}
			return raw
		}
		b.store()
		_, err := b.copy()
		b.mustFail(err, events.CodePointDamaged, "point "+id+" of container web-1 is not copied: container.json in sink a: ")
		b.mustFail(err, events.CodePointDamaged, says)
		b.mustBeNothing()
	}
}

func TestMarks(t *testing.T) {
	b := newBench(t)
	b.store()
	protected := point.Protected{By: "anna@ops-1", Time: time.Date(2026, 3, 5, 0, 0, 0, 0, time.UTC), Reason: "before the move"}
	b.must(protected.Write(t.Context(), b.from, dir))
	b.must(point.Verified{Time: protected.Time, Level: "full", OK: true, Host: "web01", Job: job, Holdfast: "1"}.Write(t.Context(), b.from, dir))
	b.to.Fail(t, sinktest.OpMark, 1, sink.ErrUnavailable)
	_, err := b.copy()
	b.mustFail(err, events.CodeSinkUnavailable, "protect point")
	r, err := b.copy() // it is there by now
	b.must(err)
	marks := point.ReadMarks(t.Context(), b.to, dir, sink.MarkNames[:]...)
	if !r.AlreadyThere || !r.Protected || marks.Protected == nil || marks.Protected.By != protected.By ||
		marks.Protected.Reason != protected.Reason || marks.Verified != nil {
		t.Errorf("the result is %+v, and the marks %+v", r, marks)
	}

	removed := newBench(t)
	removed.store()
	removed.must(point.Removed{Time: protected.Time, Host: "web01", Job: job, Reason: "x", GoneAfter: protected.Time}.Write(t.Context(), removed.from, dir))
	_, err = removed.copy()
	removed.mustFail(err, events.CodeGone, "was removed from sink a")
	removed.mustBeNothing()
	task := removed.task()
	task.Named = true
	_, err = removed.runner.Run(t.Context(), task)
	removed.mustFail(err, events.CodePointNotFound, "was removed from sink a")

	unread := newBench(t)
	unread.store()
	unread.must(unread.from.PutMark(t.Context(), dir, sink.ProtectedName, []byte("{")))
	_, err = unread.copy()
	unread.mustFail(err, events.CodeSinkError, "protect it again")
	unread.mustBeNothing()
}

func TestAPointThatIsGone(t *testing.T) {
	b := newBench(t)
	_, err := b.copy()
	b.mustFail(err, events.CodeGone, "was removed from sink a after the plan was made")
	task := b.task()
	task.Code, task.Message = events.CodePointDamaged, "the manifest is damaged"
	_, err = b.runner.Run(t.Context(), task)
	b.mustFail(err, events.CodePointDamaged, "the manifest is damaged")
}

// Whatever fails in a sink, the point is not there, nothing is left of the attempt, and
// the next one copies it.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		from bool
		op   sinktest.Op
		nth  int
		err  error
		code events.Code
	}{
		{true, sinktest.OpOpen, 1, sink.ErrUnavailable, events.CodeSinkUnavailable},
		{true, sinktest.OpOpen, 5, errors.New("broken"), events.CodeSinkError},
		{true, sinktest.OpRead, 3, sink.ErrUnavailable, events.CodeSinkUnavailable},
		{false, sinktest.OpStage, 1, sink.ErrUnavailable, events.CodeSinkUnavailable},
		{false, sinktest.OpCreate, 2, sink.ErrTooLarge, events.CodeSinkFull},
		{false, sinktest.OpWrite, 1, sink.ErrFull, events.CodeSinkFull},
		{false, sinktest.OpWrite, 4, errors.New("broken"), events.CodeSinkError},
		{false, sinktest.OpCommit, 3, sink.ErrFull, events.CodeSinkFull},
		{false, sinktest.OpPublish, 1, sink.ErrUnavailable, events.CodeSinkUnavailable},
	} {
		t.Run(fmt.Sprint(c.op, " ", c.nth), func(t *testing.T) {
			b := newBench(t)
			m := b.store()
			name, in := "sink b", b.to
			if c.from {
				name, in = "sink a", b.from
			}
			in.Fail(t, c.op, c.nth, c.err)
			_, err := b.copy()
			b.mustFail(err, c.code, name)
			b.mustBeNothing()
			_, err = b.copy()
			b.must(err)
			b.mustBeWhole(m, nil)
		})
	}
}

// A record that cannot be written ends a copy untouched.
func TestNoRecord(t *testing.T) {
	b := newBench(t)
	b.store()
	b.records.FailWrites(errors.New("the disk is full"))
	_, err := b.copy()
	b.mustFail(err, events.CodeInternal, "the disk is full")
	if left := b.to.Contents(); len(left) > 0 {
		t.Errorf("left are %q", left)
	}
}

// Of two that copy a point at a time both succeed, and there is one.
func TestTwoAtOnce(t *testing.T) {
	b := newBench(t)
	m := b.store()
	other := b.task()
	other.Job = "k3j2k3j2k3j2k3j2"
	task := b.task()
	ctx := step.Observe(t.Context(), func(_ context.Context, passed step.Name) {
		if passed == step.Saved {
			if r, err := b.runner.Run(t.Context(), other); err != nil || r.AlreadyThere {
				t.Errorf("the other is %+v, %v", r, err)
			}
		}
	})
	r, err := b.runner.Run(ctx, task)
	b.must(err)
	if !r.AlreadyThere || r.Manifest == nil {
		t.Errorf("the result is %+v", r)
	}
	b.mustBeWhole(m, nil)
	if n := len(b.to.Contents()); n != len(content)+1 {
		t.Errorf("there are %d objects", n)
	}
}

// A copy that is cancelled, or that does not move, is left within a second, and the Sweeper
// removes what is left of it.
func TestCancelled(t *testing.T) {
	for _, at := range []step.Name{step.Recorded, step.Staged, step.Saved} {
		b := newBench(t)
		b.store()
		ctx, cancel := context.WithCancelCause(t.Context())
		hang := make(chan struct{})
		_, err := b.runner.Run(step.Observe(ctx, func(_ context.Context, passed step.Name) {
			if passed == at {
				cancel(errors.New("cancelled by anna"))
				<-hang
			}
		}), b.task())
		b.mustFail(err, events.CodeCancelled, "cancelled by anna")
		close(hang)
		b.mustBeNothing()
	}
	b := newBench(t)
	b.store()
	b.runner.StallTimeout = 20 * time.Millisecond
	hang := make(chan struct{})
	_, err := b.runner.Run(step.Observe(t.Context(), func(_ context.Context, passed step.Name) {
		if passed == step.Staged {
			<-hang
		}
	}), b.task())
	b.mustFail(err, events.CodeTimeout, stall.ErrStalled.Error())
	close(hang)
	b.mustBeNothing()
}

// In an object store artifacts lie by keys of their attempt: a copy back has the keys of
// its own, and every copy can be copied.
func TestObjectStore(t *testing.T) {
	b := newBench(t)
	m := b.store()
	there, err := object.Open(t.Context(), objecttest.NewMemory().Open(t), "", "")
	b.must(err)
	out := b.task()
	out.To = copies.Sink{Name: "b", Sink: there}
	r, err := b.runner.Run(t.Context(), out)
	b.must(err)
	for _, a := range r.Manifest.Artifacts {
		if !strings.HasPrefix(a.Key, dir+"/"+job+"-1/") {
			t.Errorf("an artifact lies at %s", a.Key)
		}
	}
	back := b.task()
	back.From = out.To
	_, err = b.runner.Run(t.Context(), back)
	b.must(err)
	b.mustBeWhole(m, nil)
}

func signerOf(t *testing.T) *sign.Signer {
	t.Helper()
	private, err := sign.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := sign.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Who copies signs; and nobody is trusted by being copied.
func TestSignatures(t *testing.T) {
	own, stranger := signerOf(t), signerOf(t)
	signed := func(s sink.Sink, signers ...string) sink.Sink {
		trust, err := sign.NewTrust([]string{own.Public()}, signers)
		if err != nil {
			t.Fatal(err)
		}
		return &sign.Signed{Sink: s, Signer: own, Trust: trust}
	}
	for name, c := range map[string]struct {
		from, to []string // the signers of the sinks
		code     events.Code
	}{
		"nobody asks for signatures":       {nil, nil, ""},
		"not signed, and it has to be":     {nil, []string{stranger.Public()}, events.CodeUnsuitable},
		"not signed, where it has to be":   {[]string{stranger.Public()}, nil, events.CodePointDamaged},
		"signed by nobody, for two signed": {[]string{own.Public()}, []string{own.Public()}, events.CodePointDamaged},
	} {
		b := newBench(t)
		b.store()
		task := b.task()
		task.From.Sink, task.To.Sink = signed(b.from, c.from...), signed(b.to, c.to...)
		r, err := b.runner.Run(t.Context(), task)
		if c.code != "" {
			b.mustFail(err, c.code, "sign")
			b.mustBeNothing()
			continue
		}
		b.must(err)
		if codes := events.WarningCodes(r.Warnings); !slices.Equal(codes, []events.WarningCode{events.WarningUntrusted}) {
			t.Errorf("%s: the warnings are %+v", name, r.Warnings)
		}
		m, err := point.Read(t.Context(), signed(b.to, own.Public()), dir)
		if err != nil || !m.Signed.Trusted {
			t.Errorf("%s: the copy is %+v, %v", name, m, err)
		}
		again := newBench(t) // what is signed is signed anew
		back := again.task()
		back.From.Sink, back.To.Sink = signed(b.to, own.Public()), signed(again.to, own.Public())
		r, err = again.runner.Run(t.Context(), back)
		again.must(err)
		if len(r.Warnings) > 0 {
			t.Errorf("%s: the warnings of the copy of the copy are %+v", name, r.Warnings)
		}
		if m, err := point.Read(t.Context(), back.To, dir); err != nil || m.Signature == "" {
			t.Errorf("%s: the copy of the copy is %+v, %v", name, m, err)
		}
	}
}

// A copy that the quota of the sink does not let in is refused before anything is written.
func TestBeyondTheQuota(t *testing.T) {
	b := newBench(t)
	m := b.store()
	task := b.task()
	task.To.Sink = quota.New(b.to, m.Size()-1, "memory")
	_, err := b.runner.Run(b.Context(), task)
	b.mustFail(err, events.CodeSinkFull, "store point "+id+" in sink b: memory: the sink is full: its quota is ")
	b.mustBeNothing()
	task = b.task()
	task.To.Sink = quota.New(b.to, m.Size()+100, "memory")
	if _, err := b.runner.Run(b.Context(), task); err != nil {
		t.Error(err)
	}
}

package helper_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/engine/enginetest"
	"holdfast.io/holdfast/internal/helper"
	"holdfast.io/holdfast/internal/volume"
)

const name = "holdfast-helper-20260102T150405Z-0123abcd-1-0"

var data = helper.Place{Volume: "data"}

// fake is an Engine whose helpers end with this exit code and leave this answer.
func fake(code int, answer string) *enginetest.Fake {
	f := enginetest.NewFake("host")
	f.AddVolume(engine.Volume{Name: "data"})
	f.SetHelper(func(_ context.Context, _ engine.HelperSpec, _ io.Reader, stdout, stderr io.Writer) int {
		fmt.Fprint(stdout, "an archive, perhaps")
		fmt.Fprint(stderr, answer)
		return code
	})
	return f
}

// read reads a place as a backup does.
func read(ctx context.Context, r helper.Runner, name string, from helper.Place, w io.Writer) (volume.Report, error) {
	p, err := r.Prepare(ctx, name, from)
	if err != nil {
		return volume.Report{}, err
	}
	report, err := p.Read(ctx, w)
	return report, errors.Join(err, p.Remove(ctx))
}

// A stream without a good answer is none, whatever came.
func TestAnswers(t *testing.T) {
	cases := map[string]struct {
		code   int
		answer string
		want   error // nil for success
		text   string
	}{
		"good":                {0, `{"report":{"entries":1}}`, nil, ""},
		"none":                {0, "", volume.ErrNoAnswer, "exit status is 0"},
		"killed":              {137, "", volume.ErrNoAnswer, "it was killed"},
		"cut":                 {0, `{"report":{"entr`, volume.ErrNoAnswer, "entr"},
		"of another program":  {2, "unknown command", volume.ErrNoAnswer, "unknown command"},
		"good, and then dead": {2, `{"report":{"entries":1}}`, volume.ErrNoAnswer, "exit status is 2"},
		"too long":            {0, `{"report":{"entries":1}}` + strings.Repeat(" ", volume.MaxAnswer) + "{}", nil, ""},
		"failed":              {1, `{"report":{},"error":{"code":"failed","message":"it is broken"}}`, errors.ErrUnsupported, "it is broken"},
		"full":                {1, `{"report":{},"error":{"code":"full","message":"no space"}}`, volume.ErrFull, "no space"},
		"unreadable": {0, `{"report":{"entries":3,"unreadable":{"count":1,"first":[{"path":"a/b","reason":"input/output error"}]}}}`,
			helper.ErrUnreadable, "a/b: input/output error"},
	}
	for what, c := range cases {
		t.Run(what, func(t *testing.T) {
			f := fake(c.code, c.answer)
			r := helper.Runner{Engine: f}
			report, err := read(t.Context(), r, name, data, io.Discard)
			switch {
			case c.want == nil:
				if err != nil || report.Entries != 1 {
					t.Errorf("it reports %+v, %v", report, err)
				}
			case err == nil, c.want != errors.ErrUnsupported && !errors.Is(err, c.want), !strings.Contains(err.Error(), c.text),
				!strings.Contains(err.Error(), "volume data"):
				t.Errorf("it reports %v, want %v with %q and what was read", err, c.want, c.text)
			}
			if left := f.Helpers(); len(left) > 0 {
				t.Errorf("%q is left", left)
			}
		})
	}
}

// Whatever fails, the helper is gone, or it is said that it may not be.
func TestFaults(t *testing.T) {
	broken := errors.New("broken")
	const good = `{"report":{"entries":1}}`
	for _, op := range []enginetest.Op{enginetest.CreateHelper, enginetest.CopyToHelper, enginetest.RunHelper} {
		for _, late := range []bool{false, true} {
			f := fake(0, good)
			f.Plan(enginetest.Fault{Op: op, Err: broken, Late: late})
			r := helper.Runner{Engine: f}
			if _, err := read(t.Context(), r, name, data, io.Discard); !errors.Is(err, broken) || errors.Is(err, helper.ErrLeft) {
				t.Errorf("%s fails: %v", op, err)
			}
			if left := append(f.Helpers(), f.Pending()...); len(left) > 0 {
				t.Errorf("%s fails: %q is left", op, left)
			}
		}
	}
	f := fake(0, good)
	f.Plan(enginetest.Fault{Op: enginetest.RemoveHelper, Err: broken})
	r := helper.Runner{Engine: f}
	report, err := read(t.Context(), r, name, data, io.Discard)
	if !errors.Is(err, helper.ErrLeft) || report.Entries != 1 || len(f.Helpers()) != 1 {
		t.Errorf("a removal that fails reports %+v, %v", report, err)
	}
}

// A helper that somebody removes is no volume that is gone.
func TestRemovedMeanwhile(t *testing.T) {
	f := fake(0, "")
	f.Plan(enginetest.Fault{Op: enginetest.CopyToHelper, During: func() {
		if _, err := f.RemoveHelper(t.Context(), name); err != nil {
			t.Error(err)
		}
	}, Err: engine.ErrNotFound})
	r := helper.Runner{Engine: f}
	if _, err := read(t.Context(), r, name, data, io.Discard); err == nil || errors.Is(err, engine.ErrNotFound) {
		t.Errorf("it reports %v", err)
	}
}

// otherEngine is of another platform.
type otherEngine struct{ *enginetest.Fake }

func (e otherEngine) About(ctx context.Context) (engine.About, error) {
	about, err := e.Fake.About(ctx)
	about.Architecture = "s390x"
	return about, err
}

func TestOtherPlatform(t *testing.T) {
	f := fake(0, `{"report":{"entries":1}}`)
	f.AddImage("tools/holdfast:v1")
	r := helper.Runner{Engine: otherEngine{f}}
	for _, err := range []error{r.Ready(t.Context()), func() error { _, err := r.IsEmpty(t.Context(), name, data); return err }()} {
		if !errors.Is(err, helper.ErrNoProgram) || !strings.Contains(err.Error(), "helper.image") {
			t.Errorf("it reports %v, want ErrNoProgram and what helps", err)
		}
	}
	r.Image = "tools/holdfast:v1"
	if err := r.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := read(t.Context(), r, name, data, io.Discard); err != nil {
		t.Error(err)
	}
}

// What a helper takes is found out before it is made.
func TestRefused(t *testing.T) {
	f := fake(0, "")
	f.Refuse(engine.CallRemoveContainer)
	r := helper.Runner{Engine: f}
	if err := r.Ready(t.Context()); !errors.Is(err, engine.ErrRefused) {
		t.Errorf("it reports %v, want ErrRefused", err)
	}
}

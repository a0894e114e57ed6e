// Package helper reads and writes one volume, or one folder of an Engine's host, by a
// container of ours with our own program in it: wherever the Engine is, and as
// package volume keeps it.
package helper

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/volume"
)

var (
	// ErrNoProgram: there is no program that could run on this Engine.
	ErrNoProgram = errors.New("there is no program for a helper on this Engine")
	// ErrUnreadable: something in a volume could not be read. The error names the first
	// paths.
	ErrUnreadable = errors.New("not all of it can be read")
	// ErrLeft: the work is done, and what it returned is good, but the helper could not be
	// removed: that is left to whoever undoes its record.
	ErrLeft = errors.New("the helper could not be removed yet")
)

// Command is the command of our program that runs in a helper, with an operation of
// package volume and a folder.
const Command = "volume-helper"

// removeBound is how long the removal of a helper may take.
const removeBound = 30 * time.Second

// Engine is what a Runner needs of an Engine.
type Engine interface {
	engine.Helpers
	engine.Prober
	About(ctx context.Context) (engine.About, error)
}

// Place is what a helper works on: a volume by its name, or a folder of the Engine's
// host by its absolute path. Exactly one is set.
type Place struct{ Volume, Bind string }

func (p Place) String() string {
	if p.Volume != "" {
		return "volume " + p.Volume
	}
	return "path " + p.Bind
}

// Runner runs helpers. Each call makes one, so none is ever shared, and removes it; that
// of a Prepare is removed by [Prepared.Remove]. It may be used by several goroutines; the
// fields are not changed once it is in use.
//
// A helper's name is [engine.HelperName], unlike that of any other, and the caller has
// an undo record that names it before the call. After success nothing of the helper is
// left. After an error, ErrLeft too, something may be, and the record stays.
//
// All calls report engine.ErrNotFound if the place is not there, and make none;
// ErrNoProgram; and what package engine says of an Engine that is away or refuses a
// call. When ctx ends they return its cause.
type Runner struct {
	Engine Engine
	// Image is a reference of an image on the Engine whose entrypoint is a holdfast for
	// its platform; empty for the program that runs here.
	Image string
}

// Ready finds out, without making anything, whether a helper could be run. It reports
// ErrNoProgram and engine.ErrRefused.
func (r *Runner) Ready(ctx context.Context) error {
	if _, err := r.program(ctx); err != nil {
		return err
	}
	return r.Engine.Probe(ctx, engine.HelperCalls...)
}

// Write unpacks content, an archive as Read writes it, into to, as [volume.Extract]
// does. It reports volume.ErrCorrupt and volume.ErrFull; an error of content is
// returned as it is. After an error a part may be there.
func (r *Runner) Write(ctx context.Context, name string, to Place, content io.Reader) (volume.Report, error) {
	a, err := r.do(ctx, name, to, volume.OpWrite, content)
	return a.Report, err
}

// IsEmpty reports whether nothing is in the place, see [volume.IsEmpty].
func (r *Runner) IsEmpty(ctx context.Context, name string, at Place) (bool, error) {
	a, err := r.do(ctx, name, at, volume.OpEmpty, nil)
	return a.Empty, err
}

// Clear removes all that is in the place.
func (r *Runner) Clear(ctx context.Context, name string, at Place) error {
	_, err := r.do(ctx, name, at, volume.OpClear, nil)
	return err
}

func (r *Runner) do(ctx context.Context, name string, at Place, op volume.Op, stdin io.Reader) (volume.Answer, error) {
	w, err := r.prepare(ctx, name, at, op)
	if err != nil {
		return volume.Answer{}, err
	}
	answer, err := w.ask(ctx, stdin, io.Discard)
	if err != nil {
		_ = w.remove(ctx) // the caller's record stays after any error
		return answer, err
	}
	return answer, w.remove(ctx)
}

// work is one helper, and what it is for.
type work struct {
	engine   Engine
	name, id string
	at       Place
	op       volume.Op
}

// prepare makes a helper with its program in it.
func (r *Runner) prepare(ctx context.Context, name string, at Place, op volume.Op) (work, error) {
	w := work{engine: r.Engine, name: name, at: at, op: op}
	p, err := r.program(ctx)
	if err != nil {
		return w, err
	}
	w.id, err = r.Engine.CreateHelper(ctx, engine.HelperSpec{
		Name: name, Volume: at.Volume, Bind: at.Bind, Writes: op == volume.OpWrite || op == volume.OpClear,
		Image: r.Image, Command: p.command(string(op)), Environment: p.environment,
	})
	if errors.Is(err, engine.ErrNoHelperImage) {
		err = fmt.Errorf("%w: %w; see helper.image in the configuration", ErrNoProgram, err)
	}
	if err == nil {
		if err = p.put(ctx, r.Engine, w.id); err != nil {
			err = lost(fmt.Errorf("put the program into the helper: %w", err))
		}
	}
	if err != nil {
		_ = w.remove(ctx) // the caller's record stays after any error
		return w, w.failed(ctx, err)
	}
	return w, nil
}

// ask starts the helper, and returns what it said at its end.
func (w *work) ask(ctx context.Context, stdin io.Reader, stdout io.Writer) (volume.Answer, error) {
	var said limited
	code, err := w.engine.RunHelper(ctx, w.id, stdin, stdout, &said)
	return w.answer(ctx, said.Bytes(), code, err)
}

// answer makes of what a helper said, and how it ended, what it has to say.
func (w *work) answer(ctx context.Context, said []byte, code int, err error) (volume.Answer, error) {
	if err != nil {
		return volume.Answer{}, w.failed(ctx, lost(err))
	}
	answer, err := volume.ParseAnswer(said)
	if err == nil && code != 0 {
		err = volume.ErrNoAnswer // of the work as a whole
	}
	if errors.Is(err, volume.ErrNoAnswer) {
		answer, err = volume.Answer{}, fmt.Errorf("%w; its exit status is %d%s", err, code, killed(code))
	}
	if err != nil {
		return answer, w.failed(ctx, err)
	}
	return answer, nil
}

// failed returns the error of work that failed with err, which says what the work was.
func (w *work) failed(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		err = cause // the Engine's error only follows from it
	}
	return fmt.Errorf("%s %s: %w", w.op, w.at, err)
}

// remove removes the helper, in a time of its own: what ctx ended must go too.
func (w *work) remove(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeBound)
	defer cancel()
	if _, err := w.engine.RemoveHelper(bounded, w.name); err != nil {
		return fmt.Errorf("%w: remove container %s: %w", ErrLeft, w.name, err)
	}
	return nil
}

// killed says of an exit status what it likely means.
func killed(code int) string {
	const sigkill = 128 + 9
	if code == sigkill {
		return " (it was killed, by somebody or for want of memory)"
	}
	return ""
}

// lost keeps a helper that somebody removed from being taken for a place that is not
// there.
func lost(err error) error {
	if errors.Is(err, engine.ErrNotFound) {
		return fmt.Errorf("the helper was removed by somebody else: %v", err) //nolint:errorlint // the place is there, see above
	}
	return err
}

// limited keeps what a helper says, as far as an answer is long.
type limited struct {
	bytes.Buffer
	first func() // is called when it says something
}

func (l *limited) Write(p []byte) (int, error) {
	if l.first != nil {
		l.first()
	}
	l.Buffer.Write(p[:min(len(p), max(0, volume.MaxAnswer-l.Len()))])
	return len(p), nil
}

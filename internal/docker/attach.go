package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"holdfast.io/holdfast/internal/engine"
)

// RunHelper implements [engine.Helpers]. Its streams go over one connection, on which
// the Engine waits for whoever is slower.
func (e *Engine) RunHelper(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	code, err := e.runHelper(ctx, id, stdin, stdout, stderr)
	if cause := context.Cause(ctx); err != nil && cause != nil { // a stream that was closed for it tells less
		return 0, cause
	}
	return code, err
}

func (e *Engine) runHelper(ctx context.Context, id string, stdin io.Reader, stdout, stderr io.Writer) (int, error) {
	stream, err := e.hijack(ctx, engine.CallAttach, func() (types.HijackedResponse, error) {
		return e.api.ContainerAttach(ctx, id, container.AttachOptions{Stream: true, Stdin: true, Stdout: true, Stderr: true})
	})
	if err != nil {
		return 0, fmt.Errorf("attach to the helper: %w", e.translate(err))
	}
	defer stream.Close()
	defer context.AfterFunc(ctx, stream.Close)()
	if err := e.translate(e.api.ContainerStart(ctx, id, container.StartOptions{})); err != nil {
		return 0, fmt.Errorf("start the helper: %w", err)
	}
	var input source
	var sent sync.WaitGroup
	sent.Go(func() { input.send(stdin, &stream) })
	output := sinks{out: stdout, err: stderr}
	_, err = stdcopy.StdCopy(writer{&output, output.out}, writer{&output, output.err}, stream.Reader)
	stream.Close() // what is still sent is not read any more
	sent.Wait()
	switch {
	case output.failed != nil:
		return 0, output.failed
	case input.failed != nil:
		return 0, input.failed
	case err != nil:
		return 0, fmt.Errorf("read from the helper: %w", e.unavailable(err))
	}
	return e.exitOf(ctx, id)
}

// source is what is sent to a helper.
type source struct{ failed error } // of the reader

// send sends what r has, and then its end. That the helper reads no more of it is no
// error: its exit code says why.
func (s *source) send(r io.Reader, stream *types.HijackedResponse) {
	if r != nil {
		_, _ = io.Copy(stream.Conn, reader{s, r})
		if s.failed != nil { // the helper must not take what there was for all
			stream.Close()
			return
		}
	}
	_ = stream.CloseWrite()
}

type reader struct {
	*source
	from io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		r.failed = err
	}
	return n, err
}

// sinks are where what a helper writes goes.
type sinks struct {
	out, err io.Writer
	failed   error // of a writer
}

type writer struct {
	*sinks
	to io.Writer
}

func (w writer) Write(p []byte) (int, error) {
	n, err := w.to.Write(p)
	if err != nil {
		w.failed = err
	}
	return n, err
}

// exitOf returns a container's exit code when it has ended.
func (e *Engine) exitOf(ctx context.Context, id string) (int, error) {
	ended, failed := e.api.ContainerWait(ctx, id, container.WaitConditionNotRunning)
	select {
	case w := <-ended:
		if w.Error != nil {
			return 0, fmt.Errorf("wait for the helper: %s", brief(w.Error.Message))
		}
		return int(w.StatusCode), nil
	case err := <-failed:
		return 0, fmt.Errorf("wait for the helper: %w", e.translate(err))
	}
}

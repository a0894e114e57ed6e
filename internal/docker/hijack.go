package docker

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"github.com/docker/docker/api/types"

	"holdfast.io/holdfast/internal/engine"
)

// hijack makes a call whose connection becomes a stream. The client does not look at
// ctx while it waits for the answer, so it may be left behind; the stream is closed
// then when it comes.
func (e *Engine) hijack(
	ctx context.Context, call engine.Call, open func() (types.HijackedResponse, error),
) (types.HijackedResponse, error) {
	type answer struct {
		stream types.HijackedResponse
		err    error
	}
	answers := make(chan answer)
	go func() {
		stream, err := open()
		select {
		case answers <- answer{stream, err}:
		case <-ctx.Done():
			if err == nil {
				stream.Close()
			}
		}
	}()
	select {
	case a := <-answers:
		return a.stream, upgradeError(call, a.err)
	case <-ctx.Done():
		return types.HijackedResponse{}, context.Cause(ctx)
	}
}

// notUpgraded is what the client says of an answer in place of a stream.
var notUpgraded = regexp.MustCompile(`^unable to upgrade to tcp, received ([0-9]{3})$`)

// upgradeError finds a refusal in the error of a stream, whose answer does not pass
// by [answers].
func upgradeError(call engine.Call, err error) error {
	if err == nil {
		return nil
	}
	m := notUpgraded.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	status, _ := strconv.Atoi(m[1])
	switch {
	case refuses(status, ""):
		method, path := call.Endpoint()
		return &engine.RefusedError{Method: method, Path: path, Status: status}
	case status == http.StatusConflict:
		return fmt.Errorf("%w: %w", engine.ErrNotRunning, err)
	case status == http.StatusNotFound:
		return fmt.Errorf("%w: %w", engine.ErrNotFound, err)
	}
	return err
}

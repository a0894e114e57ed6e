package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/engine"
)

// probeLife is how long a call that was let through is not probed again. A job of
// many containers begins each of them with a probe.
const probeLife = time.Minute

// probeBound is how long a probe may take.
const probeBound = 10 * time.Second

// Probe implements [engine.Prober]. It asks for things that are not there, so that
// the Engine has nothing to do but to say so.
func (e *Engine) Probe(ctx context.Context, calls ...engine.Call) error {
	calls = slices.DeleteFunc(slices.Clone(calls), e.allowed)
	if len(calls) == 0 {
		return nil
	}
	if err := e.negotiate(ctx); err != nil {
		return err
	}
	var errs []error
	for _, c := range calls {
		if err := e.probe(ctx, c); errors.Is(err, engine.ErrRefused) {
			errs = append(errs, err)
			continue
		} else if err != nil {
			return errors.Join(append(errs, err)...)
		}
		e.allow(c)
	}
	return errors.Join(errs...)
}

// negotiate agrees with the Engine on the API's version, which is in the path of
// what is sent.
func (e *Engine) negotiate(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, probeBound)
	defer cancel()
	ping, err := e.api.Ping(bounded)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case bounded.Err() != nil:
		return e.unavailable(fmt.Errorf("GET /_ping is not answered within %s", probeBound))
	case err != nil:
		return e.translate(err)
	}
	e.api.NegotiateAPIVersionPing(ping)
	return nil
}

func (e *Engine) allowed(c engine.Call) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	at, ok := e.probed[c]
	return ok && time.Since(at) < probeLife
}

func (e *Engine) allow(c engine.Call) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.probed == nil {
		e.probed = map[engine.Call]time.Time{}
	}
	e.probed[c] = time.Now()
}

// forgetProbes has every call probed again.
func (e *Engine) forgetProbes() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.probed = nil
}

func (e *Engine) probe(ctx context.Context, c engine.Call) error {
	method, path := c.Endpoint()
	bounded, cancel := context.WithTimeout(ctx, probeBound)
	defer cancel()
	for _, p := range probes(c) {
		if c == engine.CallCommit {
			if about, err := e.About(ctx); err == nil && about.Kind == podmanEngine { // as [Engine.Commit] does
				p.body = "{}"
			}
		}
		err := e.send(bounded, method, p)
		if refusal, ok := errors.AsType[*engine.RefusedError](err); ok {
			refusal.Path = path // and not that of something made up
			if refusal.Status == http.StatusNotFound {
				if about, err := e.About(ctx); err == nil && about.Kind == podmanEngine {
					refusal.Lacking = about.Kind + " " + about.Version
				}
			}
			return refusal
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case bounded.Err() != nil:
			return e.unavailable(fmt.Errorf("%s %s is not answered within %s", method, path, probeBound))
		case errors.Is(err, engine.ErrUnsupported), errors.Is(err, engine.ErrEngineUnavailable):
			return err
		case err != nil:
			return fmt.Errorf("try %s %s: %w", method, path, err)
		}
	}
	return nil
}

// wire is a request that changes nothing.
type wire struct {
	path  string
	query url.Values
	body  string
	// missing is set if it is about something that is not there: a success would not
	// be the Engine's answer.
	missing bool
	// malformed is set if the Engine cannot make sense of the body, and says so with
	// whatever status: Podman 4 with 500.
	malformed bool
}

// probes returns the requests that a call is probed with: one for each form in
// which it is made.
func probes(c engine.Call) []wire {
	random := make([]byte, 32)
	_, _ = rand.Read(random) // never fails
	id := hex.EncodeToString(random)
	_, path := c.Endpoint()
	of := func(path string) wire { return wire{path: strings.ReplaceAll(path, "{id}", id), missing: true} }
	switch c {
	case engine.CallContainers:
		return []wire{{path: path, query: url.Values{"all": {"1"}, "filters": {`{"id":["` + id + `"]}`}}}}
	case engine.CallImages:
		return []wire{{path: path, query: url.Values{"filters": {`{"reference":["` + engine.SnapshotReference(id) + `"]}`}}}}
	case engine.CallEvents: // of a time that has passed: the stream ends at once
		return []wire{{path: path, query: url.Values{"since": {"1"}, "until": {"1"}}}}
	case engine.CallSave:
		return []wire{{path: path, query: url.Values{"names": {"sha256:" + id}}, missing: true}}
	case engine.CallCommit: // without a body, as the client sends it
		return []wire{{path: path, query: url.Values{"container": {id}, "pause": {"0"}}, missing: true}}
	case engine.CallInspectImage, engine.CallRemoveImage: // a proxy may allow no colon or slash in a name
		return []wire{of(strings.ReplaceAll(path, "{name}", "sha256:"+id)),
			of(strings.ReplaceAll(path, "{name}", engine.SnapshotReference(id)))}
	case engine.CallPush, engine.CallPull, engine.CallLookUp:
		return []wire{probeOfRegistry(c, path, id)}
	case engine.CallVolumes:
		return []wire{{path: path, query: url.Values{"filters": {`{"label":["` + engine.HelperLabel + `=` + id + `"]}`}}}}
	case engine.CallInspectVolume, engine.CallRemoveVolume:
		return []wire{of(strings.ReplaceAll(path, "{name}", id))}
	case engine.CallCreate: // of an image that is not there
		w := of(path)
		w.body = `{"Image":"sha256:` + id + `","Cmd":["none"]}`
		return []wire{w}
	case engine.CallCreateNetwork, engine.CallCreateVolume: // a name that is none, or it would be made
		return []wire{{path: path, body: `{"Name":[]}`, missing: true, malformed: true}}
	case engine.CallPing, engine.CallVersion, engine.CallInfo, engine.CallLoad: // a load of nothing
		return []wire{{path: path}}
	default:
		return []wire{probeOfID(c, of(path), id)}
	}
}

// probeOfRegistry returns the request of a call that makes the Engine ask a registry, so that
// it asks none.
func probeOfRegistry(c engine.Call, path, id string) wire {
	switch c {
	case engine.CallPull: // of a name that is none
		return wire{path: path, query: url.Values{"fromImage": {"127.0.0.1:1/NONE/" + id}}, missing: true, malformed: true}
	case engine.CallPush: // of an image that is not there; a success says so in the stream
		return wire{path: strings.ReplaceAll(path, "{name}", "127.0.0.1:1/"+engine.PushNamespace+"/"+id)}
	default: // of what names no registry; Engine 20.10 answers that 500
		return wire{path: strings.ReplaceAll(path, "{name}", "sha256:"+id)}
	}
}

// probeOfID completes the request w of a call that names a container, an exec or a
// network by an id in its path.
func probeOfID(c engine.Call, w wire, id string) wire {
	switch c {
	case engine.CallCopy:
		w.query = url.Values{"path": {"/"}}
	case engine.CallExecCreate:
		w.body = `{"Cmd":["true"]}`
	case engine.CallExecStart:
		w.body = `{"Detach":false,"Tty":false}`
	case engine.CallRename:
		w.query = url.Values{"name": {id}}
	case engine.CallUpdate, engine.CallConnect, engine.CallDisconnect:
		w.body = `{"Container":"` + id + `"}`
	default:
	}
	return w
}

// send sends a request past the Docker client, whose calls read and check more
// than whether they are let through.
func (e *Engine) send(ctx context.Context, method string, w wire) error {
	target := e.base.JoinPath("/v"+e.api.ClientVersion(), w.path)
	target.RawQuery = w.query.Encode()
	var body io.Reader
	if w.body != "" {
		body = strings.NewReader(w.body)
	}
	req, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return err
	}
	if w.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := e.api.HTTPClient().Do(req)
	if err != nil {
		if err = e.translate(err); errors.Is(err, engine.ErrRefused) || errors.Is(err, engine.ErrEngineUnavailable) {
			return err
		}
		return e.unavailable(err)
	}
	defer resp.Body.Close()
	if w.missing {
		return e.checkMissing(ctx, method, w, resp)
	}
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer)); err != nil {
		return e.unavailable(err)
	}
	return nil
}

// checkMissing holds an answer about something that is not there against what a
// Docker Engine says then.
func (e *Engine) checkMissing(ctx context.Context, method string, w wire, resp *http.Response) error {
	switch {
	case resp.StatusCode < http.StatusBadRequest && method == http.MethodGet:
		return nil // a proxy that rewrites answers may lose the status; what is read is looked at anyway
	case resp.StatusCode < http.StatusBadRequest:
		return fmt.Errorf("%w: %s %s of something that is not there is answered %s", engine.ErrUnsupported, method, w.path, resp.Status)
	case resp.StatusCode < http.StatusInternalServerError, w.malformed,
		strings.HasSuffix(w.path, "/images/get"): // Engine 20.10 answers that 500
		return nil
	}
	var answer struct{ Message string }
	_ = json.NewDecoder(resp.Body).Decode(&answer) // answers has looked at it
	err := fmt.Errorf("%s %s is answered %s: %s", method, w.path, resp.Status, answer.Message)
	if kind, version := e.kind(ctx); kind != "" && kind != dockerEngine {
		return fmt.Errorf("%w: %s %s: %w", engine.ErrUnsupported, kind, version, err)
	}
	return err
}

package enginetest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"

	"holdfast.io/holdfast/internal/engine"
)

// The calls of [engine.Registries].
const (
	Push   Op = "Push"
	LookUp Op = "LookUp"
)

// Push implements [engine.Registries]. It goes over HTTP, as that of a daemon: with
// layers that are gzip, all at a time, and the manifest at the end. As with a classic
// store, the registry is asked for layers only whose digests are known from an earlier
// push.
func (f *Fake) Push(ctx context.Context, reference string, auth engine.Credentials) error {
	fault, err := f.begin(ctx, Push, reference)
	if err != nil {
		return err
	}
	f.mu.Lock()
	img := f.findImage(reference)
	f.mu.Unlock()
	if img == nil {
		return noImage(reference)
	}
	c := newRegistryClient(reference, auth)
	defer c.close()
	if err := f.push(ctx, c, img); err != nil {
		return cmp.Or(context.Cause(ctx), fmt.Errorf("push the image: %w", err))
	}
	return fault.late()
}

// LookUp implements [engine.Registries].
func (f *Fake) LookUp(ctx context.Context, reference string, auth engine.Credentials) error {
	fault, err := f.begin(ctx, LookUp, reference)
	if err != nil {
		return err
	}
	c := newRegistryClient(reference, auth)
	defer c.close()
	var answer *answer
	if err = c.greet(ctx); err == nil {
		answer, err = c.do(ctx, http.MethodHead, c.path("manifests/"+c.tag), nil, "", http.StatusOK, http.StatusNotFound)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	case answer.status == http.StatusNotFound:
		return fmt.Errorf("%w: the registry does not have %s", engine.ErrNotFound, reference)
	}
	return fault.late()
}

// descriptor is what a manifest says of a blob.
type descriptor struct {
	MediaType string `json:"mediaType"`
	Size      int64  `json:"size"`
	Digest    string `json:"digest"`
}

const manifestType = "application/vnd.docker.distribution.manifest.v2+json"

func (f *Fake) push(ctx context.Context, c *registryClient, img *image) error {
	manifest := struct {
		SchemaVersion int          `json:"schemaVersion"`
		MediaType     string       `json:"mediaType"`
		Config        descriptor   `json:"config"`
		Layers        []descriptor `json:"layers"`
	}{2, manifestType, descriptor{}, make([]descriptor, len(img.layers))}
	err := c.greet(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	errs := make([]error, len(img.layers))
	var pushing sync.WaitGroup
	for i, layer := range img.layers {
		pushing.Go(func() {
			if manifest.Layers[i], errs[i] = f.pushLayer(ctx, c, layer); errs[i] != nil {
				cancel()
			}
		})
	}
	pushing.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil && !errors.Is(err, context.Canceled) }); i >= 0 {
		return errs[i]
	} else if err := ctx.Err(); err != nil {
		return err
	}
	if manifest.Config, err = c.pushBlob(ctx, img.config, true, false); err != nil {
		return err
	}
	manifest.Config.MediaType = "application/vnd.docker.container.image.v1+json"
	_, err = c.do(ctx, http.MethodPut, c.path("manifests/"+c.tag), bytes.NewReader(mustJSON(manifest)), manifestType, http.StatusCreated)
	return err
}

// pushLayer sends a layer, unless the registry has it.
func (f *Fake) pushLayer(ctx context.Context, c *registryClient, layer []byte) (descriptor, error) {
	packed := bytes.NewBuffer(packed(layer))
	f.mu.Lock()
	streams, pushed := f.streams, f.pushed[digest(layer)]
	f.mu.Unlock()
	d, err := c.pushBlob(ctx, packed.Bytes(), streams || pushed, streams)
	if streams {
		d.Size = int64(packed.Len()) // which such a store knows by itself
	}
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.pushed[digest(layer)] = true
	}
	d.MediaType = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	return d, err
}

// packed is a layer as it is pushed.
func packed(layer []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(layer)
	must(errors.Join(err, z.Close()))
	return b.Bytes()
}

// registryClient is a daemon's side of the registry protocol.
type registryClient struct {
	http            *http.Client
	base            *url.URL
	repository, tag string
	auth            engine.Credentials
}

func newRegistryClient(reference string, auth engine.Credentials) *registryClient {
	host, rest, _ := strings.Cut(reference, "/")
	repository, tag, _ := strings.Cut(rest, ":")
	return &registryClient{http: &http.Client{Transport: &http.Transport{}}, base: &url.URL{Scheme: "http", Host: host},
		repository: repository, tag: tag, auth: auth}
}

func (c *registryClient) close() { c.http.CloseIdleConnections() }

func (c *registryClient) path(rest string) string { return "/v2/" + c.repository + "/" + rest }

// answer is that of a registry.
type answer struct {
	status   int
	location string
	size     int64 // of what was asked for
	body     []byte
}

// greet finds out that the registry asks for credentials.
func (c *registryClient) greet(ctx context.Context) error {
	a, err := c.send(ctx, http.MethodGet, "/v2/", nil, "", false)
	if err == nil && a.status != http.StatusUnauthorized {
		err = fmt.Errorf("the registry asks for no credentials: it answers %d", a.status)
	}
	return err
}

// do makes a request with the credentials. An answer but for one of these is an error.
func (c *registryClient) do(
	ctx context.Context, method, target string, body io.Reader, kind string, wanted ...int,
) (*answer, error) {
	a, err := c.send(ctx, method, target, body, kind, true)
	if err == nil && !slices.Contains(wanted, a.status) {
		err = a.refusal()
	}
	return a, err
}

func (c *registryClient) send(ctx context.Context, method, target string, body io.Reader, kind string, auth bool) (*answer, error) {
	at, err := c.base.Parse(target)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", cmp.Or(kind, "application/octet-stream"))
	if auth {
		req.SetBasicAuth(c.auth.User, c.auth.Password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return &answer{status: resp.StatusCode, location: resp.Header.Get("Location"), size: resp.ContentLength, body: text}, err
}

// pushBlob sends a blob, unless the registry says when it is asked that it has it.
// Daemons with a containerd store send it whole, others in a chunk of no told length.
func (c *registryClient) pushBlob(ctx context.Context, blob []byte, ask, whole bool) (descriptor, error) {
	d := descriptor{Digest: digest(blob), Size: int64(len(blob))}
	if ask {
		a, err := c.do(ctx, http.MethodHead, c.path("blobs/"+d.Digest), nil, "", http.StatusOK, http.StatusNotFound)
		if err == nil && a.status == http.StatusOK {
			d.Size = a.size
		}
		if err != nil || a.status == http.StatusOK {
			return d, err
		}
	}
	a, err := c.do(ctx, http.MethodPost, c.path("blobs/uploads/"), nil, "", http.StatusAccepted)
	if err == nil && !whole {
		a, err = c.do(ctx, http.MethodPatch, a.location, struct{ io.Reader }{bytes.NewReader(blob)}, "", http.StatusAccepted)
		blob = nil
	}
	if err != nil {
		return d, err
	}
	at := a.location + "?digest=" + url.QueryEscape(d.Digest)
	_, err = c.do(ctx, http.MethodPut, at, bytes.NewReader(blob), "", http.StatusCreated)
	return d, err
}

// refusal is the error that the answer is.
func (a *answer) refusal() error {
	var told struct {
		Errors []struct{ Code, Message string }
	}
	if err := json.Unmarshal(a.body, &told); err != nil || len(told.Errors) == 0 {
		return fmt.Errorf("the registry answers %d", a.status)
	}
	return fmt.Errorf("%s: %s", strings.ToLower(told.Errors[0].Code), told.Errors[0].Message)
}

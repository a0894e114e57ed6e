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
	Pull   Op = "Pull"
	LookUp Op = "LookUp"
)

// Push implements [engine.Registries]. It goes over HTTP, as that of a daemon: with
// layers that are gzip, all at a time, and the manifest at the end. As with a classic
// store, the registry is asked for layers only whose digests are known from an earlier
// push or pull.
func (f *Fake) Push(ctx context.Context, reference string, auth engine.Credentials, progress func()) error {
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
	progress()
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
	manifest.Config = descriptor{"application/vnd.docker.container.image.v1+json", int64(len(img.config)), digest(img.config)}
	if _, has, err := c.has(ctx, manifest.Config.Digest); err != nil {
		return err
	} else if !has {
		if err := c.pushBlob(ctx, img.config, false); err != nil {
			return err
		}
	}
	_, err = c.do(ctx, http.MethodPut, c.path("manifests/"+c.tag), bytes.NewReader(mustJSON(manifest)), manifestType, http.StatusCreated)
	return err
}

// pushLayer sends a layer, unless the registry has it.
func (f *Fake) pushLayer(ctx context.Context, c *registryClient, layer []byte) (descriptor, error) {
	blob := packed(layer)
	f.mu.Lock()
	streams, asked := f.streams, f.asked[digest(layer)]
	f.mu.Unlock()
	d := descriptor{MediaType: layerType}
	ask := ""
	switch {
	case streams:
		ask = digest(blob)
	case asked != "":
		ask = asked
	}
	if ask != "" {
		size, has, err := c.has(ctx, ask)
		if d.Digest, d.Size = ask, size; streams {
			d.Size = int64(len(blob)) // which such a store knows by itself
		}
		if err != nil || has {
			return d, err
		}
	}
	d.Digest, d.Size = digest(blob), int64(len(blob))
	err := c.pushBlob(ctx, blob, streams)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.asked[digest(layer)] = d.Digest
	}
	return d, err
}

// layerType is the type of a layer as it is pushed.
const layerType = "application/vnd.docker.image.rootfs.diff.tar.gzip"

// Pull implements [engine.Registries].
func (f *Fake) Pull(ctx context.Context, reference string, auth engine.Credentials) error {
	fault, err := f.begin(ctx, Pull, reference)
	if err != nil {
		return err
	}
	c := newRegistryClient(reference, auth)
	defer c.close()
	img, blobs, err := c.pull(ctx)
	if err == nil {
		err = fault.midst(ctx)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if there := f.images[img.id]; there != nil {
		img.references = there.references
	}
	if f.streams {
		img.manifest(func(layer []byte) []byte { return layer })
	}
	f.images[img.id] = img
	f.tag(img, reference)
	for i, layer := range img.layers {
		f.asked[digest(layer)] = blobs[i].Digest
	}
	return fault.late()
}

// pull takes an image, and proves it against its digests.
func (c *registryClient) pull(ctx context.Context) (img *image, blobs []descriptor, err error) {
	if err = c.greet(ctx); err != nil {
		return nil, nil, err
	}
	raw, err := c.get(ctx, "manifests/"+c.tag)
	if err != nil {
		return nil, nil, err
	}
	var manifest layoutDocument
	if err := json.Unmarshal(raw, &manifest); err != nil {
		return nil, nil, fmt.Errorf("the manifest: %w", err)
	}
	img = &image{id: manifest.Config.Digest}
	if img.config, err = c.get(ctx, "blobs/"+manifest.Config.Digest); err != nil {
		return nil, nil, err
	}
	var own config
	if err := json.Unmarshal(img.config, &own); err != nil {
		return nil, nil, fmt.Errorf("the configuration: %w", err)
	}
	img.comment = own.Comment
	for i, d := range manifest.Layers {
		stored, err := c.get(ctx, "blobs/"+d.Digest)
		if err != nil {
			return nil, nil, err
		}
		layer, err := plain(stored)
		if err != nil || i >= len(own.RootFS.DiffIDs) || digest(layer) != own.RootFS.DiffIDs[i] || int64(len(stored)) != d.Size {
			return nil, nil, fmt.Errorf("pull the image: layer %d is not what the configuration says, %w", i, err)
		}
		img.layers = append(img.layers, layer)
	}
	return img, manifest.Layers, nil
}

// get reads a document or a blob.
func (c *registryClient) get(ctx context.Context, rest string) ([]byte, error) {
	a, err := c.send(ctx, http.MethodGet, c.path(rest), nil, "", true)
	switch {
	case err != nil:
		return nil, fmt.Errorf("pull the image: %w", err)
	case a.status == http.StatusNotFound:
		return nil, fmt.Errorf("%w: %w", engine.ErrNotFound, a.refusal())
	case a.status != http.StatusOK:
		return nil, fmt.Errorf("pull the image: %w", a.refusal())
	}
	if _, digested, ok := strings.Cut(rest, "blobs/"); ok && digest(a.body) != digested {
		return nil, fmt.Errorf("pull the image: %s has the digest %s", digested, digest(a.body))
	}
	return a.body, nil
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
	open            bool // to whoever comes
}

func newRegistryClient(reference string, auth engine.Credentials) *registryClient {
	host, rest, _ := strings.Cut(reference, "/")
	repository, tag, isDigest := strings.Cut(rest, "@")
	if !isDigest {
		repository, tag, _ = strings.Cut(rest, ":")
	}
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

// greet finds out whether the registry asks for credentials.
func (c *registryClient) greet(ctx context.Context) error {
	a, err := c.send(ctx, http.MethodGet, "/v2/", nil, "", false)
	if err != nil {
		return err
	}
	switch a.status {
	case http.StatusUnauthorized:
	case http.StatusOK:
		c.open = true
	default:
		return fmt.Errorf("the registry answers %d", a.status)
	}
	return nil
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
	req.Header.Set("Accept", manifestType+", application/vnd.oci.image.manifest.v1+json, */*")
	req.Header.Set("Content-Type", cmp.Or(kind, "application/octet-stream"))
	if auth && !c.open {
		req.SetBasicAuth(c.auth.User, c.auth.Password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return &answer{status: resp.StatusCode, location: resp.Header.Get("Location"), size: resp.ContentLength, body: text}, err
}

// has asks the registry for a blob, and how large it says that it is.
func (c *registryClient) has(ctx context.Context, digest string) (size int64, has bool, err error) {
	a, err := c.do(ctx, http.MethodHead, c.path("blobs/"+digest), nil, "", http.StatusOK, http.StatusNotFound)
	if err != nil {
		return 0, false, err
	}
	return a.size, a.status == http.StatusOK, nil
}

// pushBlob sends a blob. Daemons with a containerd store send it whole, others in a chunk
// of no told length.
func (c *registryClient) pushBlob(ctx context.Context, blob []byte, whole bool) error {
	name := digest(blob)
	a, err := c.do(ctx, http.MethodPost, c.path("blobs/uploads/"), nil, "", http.StatusAccepted)
	if err == nil && !whole {
		a, err = c.do(ctx, http.MethodPatch, a.location, struct{ io.Reader }{bytes.NewReader(blob)}, "", http.StatusAccepted)
		blob = nil
	}
	if err != nil {
		return err
	}
	at, err := url.Parse(a.location)
	if err != nil {
		return err
	}
	query := at.Query()
	query.Set("digest", name)
	at.RawQuery = query.Encode()
	_, err = c.do(ctx, http.MethodPut, at.String(), bytes.NewReader(blob), "", http.StatusCreated)
	return err
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

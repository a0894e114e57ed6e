package prime

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/registry"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/step"
	"holdfast.io/holdfast/internal/transport"
	"holdfast.io/holdfast/internal/undo"
)

const (
	// jobName stands in undo records for a job, of which there is none: nobody ever has one
	// of this name.
	jobName = "prime"
	// removeBound bounds the removal of what was pulled.
	removeBound = 10 * time.Second
	// lateBound is how long after its client has left an Engine may still have an image: it
	// gets no more of it, and gives up at once. A worker that ends waits for that.
	lateBound = 5 * time.Second
	// roomFactor is how many times the size of a base the Engine must have room for: it
	// writes all of it to a temporary file and unpacked, and others write too.
	roomFactor = 3
)

// prime primes one base, and returns how many bytes the Engine has pulled for that.
func (p *Primer) prime(ctx context.Context, b Base) (size int64, err error) {
	about, err := p.Engine.About(ctx)
	if err != nil {
		return 0, err
	}
	base, err := p.Engine.InspectImage(ctx, b.Image)
	if errors.Is(err, engine.ErrNotFound) {
		return 0, fmt.Errorf("%w: it is gone", errUnneeded)
	} else if err != nil {
		return 0, err
	}
	layers, err := p.layers(ctx, b)
	if err != nil {
		return 0, err
	}
	known, err := p.pulledLayers(ctx, b.DiffIDs)
	if err != nil {
		return 0, err
	}
	if why := worth(layers, known); why != "" {
		return 0, fmt.Errorf("%w: %s", errUnneeded, why)
	}
	for _, l := range layers {
		size += l.Size
	}
	release, doubt, err := p.Transport.Reserve(transport.Disk{About: about, Image: base.ID}, roomFactor*size)
	if err == nil && doubt != "" {
		release()
		err = errors.New("the Engine may lack the room for it")
	}
	if err != nil {
		return 0, err
	}
	defer release()
	return size, p.pull(ctx, about, base, layers)
}

// layers returns the layers of a base, as the point in the sink has them.
func (p *Primer) layers(ctx context.Context, b Base) ([]archive.Part, error) {
	from, err := p.Sinks.Open(ctx, b.Sink)
	if err != nil {
		return nil, err
	}
	m, err := point.ReadUnsealed(ctx, from, b.Dir)
	if err != nil {
		return nil, unneeded(err)
	}
	all, ok, err := image.Source{Manifest: m, Open: from.Open, Seal: seal.Of(from)}.Layers(ctx, "")
	if err != nil {
		return nil, unneeded(err)
	}
	if !ok || len(all.Parts()) < len(b.DiffIDs) {
		return nil, fmt.Errorf("%w: point %s does not have its layers", errUnneeded, m.ID)
	}
	layers := all.Parts()[:len(b.DiffIDs)]
	for i, l := range layers {
		if l.DiffID != b.DiffIDs[i] {
			return nil, fmt.Errorf("%w: point %s has other layers", errUnneeded, m.ID)
		}
	}
	return layers, nil
}

// unneeded is the error of a point that was removed meanwhile, or cannot be read here.
func unneeded(err error) error {
	if errors.Is(err, sink.ErrNotFound) || errors.Is(err, seal.ErrNoIdentity) {
		return fmt.Errorf("%w: %w", errUnneeded, err)
	}
	return err
}

// pulledLayers returns how many of the lowest layers the Engine has of images that it has
// pulled: it knows those.
func (p *Primer) pulledLayers(ctx context.Context, diffIDs []string) (most int, err error) {
	images, err := p.Engine.Images(ctx)
	if err != nil {
		return 0, err
	}
	for _, img := range images {
		if !slices.ContainsFunc(img.Digests, func(d string) bool { return !engine.IsTemporary(d) }) {
			continue
		}
		detail, err := p.Engine.InspectImage(ctx, img.ID)
		if errors.Is(err, engine.ErrNotFound) { // removed meanwhile
			continue
		}
		if err != nil {
			return 0, err
		}
		most = max(most, detail.Lowest(diffIDs))
	}
	return most, nil
}

// least is how many bytes there are at least that the Engine does not know: it compresses
// fewer in half a second.
const least = 16 << 20

// worth says why a base is not worth to be primed of which the Engine knows so many of the
// lowest layers; empty if it is. All layers are pulled, three times as fast as those are
// compressed that the Engine does not know, and all are written twice for that.
func worth(layers []archive.Part, known int) (why string) {
	var all, unknown int64
	for i, l := range layers {
		all += l.Size
		if i >= known {
			unknown += l.Size
		}
	}
	switch {
	case unknown == 0:
		return "the Engine has pulled its layers"
	case unknown < least:
		return "its layers are small"
	case unknown < all/2:
		return "the Engine has pulled most of its layers"
	}
	return ""
}

// pull has the Engine pull the layers, as an image of their own, and removes that. Whatever
// comes of it, the image is gone, or the Sweeper has it.
func (p *Primer) pull(ctx context.Context, about engine.About, base *engine.ImageDetail, layers []archive.Part) error {
	tag := "prime-" + strings.ToLower(rand.Text())
	var id string
	session := p.Push.Server.Offer(tag, func(reference string) (offer registry.Image) {
		offer, id = describe(about, layers, engine.SnapshotComment(reference))
		return offer
	})
	defer session.Close()
	entry, err := p.Sweeper.Begin(ctx, nil, undo.Record{Version: undo.Version, ID: tag, Job: jobName, Attempt: 1, Time: time.Now().UTC(),
		Item:    events.Item{Kind: events.ItemImage, ID: base.ID, Name: nameOf(base)},
		Actions: []undo.Action{{RemoveImage: &undo.Image{Reference: session.Reference()}}}})
	if err != nil {
		return err
	}
	if err := p.Push.Pull(ctx, session); err != nil {
		session.Close() // the Engine gets nothing more
		ended := time.Now()
		entry.HandOver(nil, undo.Ended, func() bool { return time.Since(ended) < lateBound })
		return err
	}
	step.At(ctx, step.Primed)
	entry.Change(func(r *undo.Record) { r.EndCommit(session.Reference(), id) })
	remove, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeBound)
	defer cancel()
	_, err = undo.RemoveImage(remove, p.Engine, undo.Image{Reference: session.Reference(), ID: id})
	if err == nil {
		err = entry.End()
	}
	if err != nil { // the Engine knows the layers all the same
		p.Log.Warn("what was pulled of a base is still there; it will be removed")
		entry.HandOver(nil, undo.Ended, nil)
	}
	return nil
}

func nameOf(img *engine.ImageDetail) string {
	if len(img.References) > 0 {
		return img.References[0]
	}
	return img.ID
}

// Types of what a classic store pulls.
const (
	manifestType = "application/vnd.docker.distribution.manifest.v2+json"
	configType   = "application/vnd.docker.container.image.v1+json"
	layerType    = "application/vnd.docker.image.rootfs.diff.tar"
)

// describe returns the image of these layers as they are, and its id. It has nothing else
// of the base, and so another configuration: an Engine pulls no image that it has.
func describe(about engine.About, layers []archive.Part, comment string) (offer registry.Image, id string) {
	config := struct {
		Architecture string    `json:"architecture"`
		OS           string    `json:"os"`
		Comment      string    `json:"comment"`
		Config       struct{}  `json:"config"`
		RootFS       v1.RootFS `json:"rootfs"`
	}{Architecture: about.Architecture, OS: about.OS, Comment: comment, RootFS: v1.RootFS{Type: "layers"}}
	manifest := v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: manifestType}
	offer = registry.Image{MediaType: manifestType, Blobs: map[string]registry.Content{}}
	for _, l := range layers {
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.Digest(l.DiffID))
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: layerType, Digest: digest.Digest(l.DiffID), Size: l.Size})
		offer.Blobs[l.DiffID] = registry.Content{Size: l.Size, Open: func(context.Context) (io.ReadCloser, error) { return l.Open() }}
	}
	raw, _ := json.Marshal(config) // strings can always be encoded, and numbers
	own := digest.FromBytes(raw)
	offer.Blobs[own.String()] = registry.Content{Size: int64(len(raw)), Open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}}
	manifest.Config = v1.Descriptor{MediaType: configType, Digest: own, Size: int64(len(raw))}
	offer.Manifest, _ = json.Marshal(manifest)
	return offer, own.String()
}

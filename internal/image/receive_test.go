package image_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func gzipped(b []byte) []byte {
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(b)
	_ = z.Close()
	return packed.Bytes()
}

func zstdOf(b []byte) []byte {
	z, _ := zstd.NewWriter(nil)
	return z.EncodeAll(b, nil)
}

// received is what is pushed to one sink.
type received struct {
	*image.Receiver
	w *image.Writer
}

// begin begins what is pushed to a sink.
func begin(t *testing.T, in sink.Sink, p picture, o image.ReceiverOptions) received {
	t.Helper()
	staging, err := in.Stage(t.Context(), point.Dir("web01", "container", "web", idOf(9)), "1")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = staging.Discard(t.Context()) })
	w := &image.Writer{Sink: in, Staging: staging}
	if err := w.Begin(t.Context(), p.diffIDs); err != nil {
		t.Fatal(err)
	}
	return received{image.NewReceiver(image.One(w), p.diffIDs, o), w}
}

// finish stores what describes the image.
func (r received) finish() (*archive.Info, []events.Artifact, error) {
	info, err := r.Info()
	if err != nil {
		return nil, nil, err
	}
	all, err := r.Finish(r.w)
	return info, all, err
}

// receive lets blobs be pushed to a sink, and a manifest of these layers, by their digests.
func receive(t *testing.T, in sink.Sink, p picture, o image.ReceiverOptions, blobs [][]byte, layers ...string) (received, error) {
	t.Helper()
	r := begin(t, in, p, o)
	for _, blob := range append(blobs, p.config) {
		if err := send(t, r.Receiver, blob); err != nil {
			return r, err
		}
	}
	return r, r.Manifest(manifestOf(p, layers...))
}

// send pushes a blob.
func send(t *testing.T, r *image.Receiver, blob []byte) error {
	t.Helper()
	b := r.Begin(t.Context())
	for _, piece := range [][]byte{blob[:len(blob)/2], blob[len(blob)/2:]} {
		if _, err := b.Write(piece); err != nil {
			b.Abort()
			return err
		}
	}
	_, err := b.Commit(digestOf(blob))
	return err
}

// manifestOf is the manifest of a picture with these layers, by their digests.
func manifestOf(p picture, layers ...string) []byte {
	type descriptor struct {
		Digest string `json:"digest"`
	}
	m := struct {
		Config descriptor   `json:"config"`
		Layers []descriptor `json:"layers"`
	}{Config: descriptor{digestOf(p.config)}}
	for _, d := range layers {
		m.Layers = append(m.Layers, descriptor{d})
	}
	raw, _ := json.Marshal(m)
	return raw
}

// Only what is proven to be the image is taken.
func TestReceive(t *testing.T) {
	p := newPicture("lowest layer", "highest layer")
	low, high := gzipped(p.layers[0]), zstdOf(p.layers[1])
	foreign := digestOf([]byte("what another registry has it under"))
	ask := image.ReceiverOptions{ConfigDigest: digestOf(p.config), Ask: true}
	for name, c := range map[string]struct {
		has    []string // what the sink has before
		o      image.ReceiverOptions
		blobs  [][]byte
		layers []string
		taken  bool
	}{
		"all comes, in another order": {nil, ask, [][]byte{high, low}, []string{digestOf(low), digestOf(high)}, true},
		"as they are":                 {nil, ask, p.layers, p.diffIDs, true},
		"the sink has the rest":       {[]string{"lowest layer"}, ask, [][]byte{high}, []string{foreign, digestOf(high)}, true},
		"the sink has all":            {[]string{"lowest layer", "highest layer"}, ask, nil, []string{foreign, digestOf(high)}, true},
		"the sink has not the rest":   {nil, ask, [][]byte{high}, []string{foreign, digestOf(high)}, false},
		"they are swapped":            {nil, ask, [][]byte{low, high}, []string{digestOf(high), digestOf(low)}, false},
		"one is missing":              {nil, ask, [][]byte{low, high}, []string{digestOf(low)}, false},
		"another configuration":       {nil, image.ReceiverOptions{ConfigDigest: foreign}, [][]byte{low, high}, []string{digestOf(low), digestOf(high)}, false},
		"too much":                    {nil, image.ReceiverOptions{Most: 10}, [][]byte{low, high}, []string{digestOf(low), digestOf(high)}, false},
		"a layer is cut":              {nil, ask, [][]byte{low[:len(low)-4], high}, []string{digestOf(low), digestOf(high)}, false},
		"a layer goes on":             {nil, ask, [][]byte{append(bytes.Clone(low), "more"...), high}, []string{digestOf(low), digestOf(high)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, s box) {
				if c.has != nil {
					mustStore(t, s, 1, newPicture(c.has...))
				}
				r, err := receive(t, s, p, c.o, c.blobs, c.layers...)
				if c.taken && err != nil || !c.taken && !errors.Is(err, image.ErrNotTaken) {
					t.Fatalf("it ended with %v", err)
				}
				info, artifacts, err := r.finish()
				if !c.taken {
					if !errors.Is(err, image.ErrNotTaken) {
						t.Errorf("it can be finished: %v", err)
					}
					return
				}
				if err != nil || info.ConfigDigest != digestOf(p.config) || len(artifacts) != len(p.layers)+s.of(4, 1) {
					t.Errorf("it is finished as %+v, %d artifacts: %v", info, len(artifacts), err)
				}
			})
		})
	}
}

// A layer that a daemon has left out, as it was told to, comes by the next push if the sink does not
// have it, also where the image has it twice; what was left out twice does not come.
func TestLacks(t *testing.T) {
	p := newPicture("lowest layer", "highest layer", "highest layer")
	high := gzipped(p.layers[1])
	for name, comes := range map[string]bool{"it comes": true, "it does not": false} {
		t.Run(name, func(t *testing.T) {
			s := sinktest.NewMemory()
			mustStore(t, s, 1, newPicture("lowest layer"))
			layers := []string{digestOf([]byte("what the Engine has it under")), digestOf(high), digestOf(high)}
			r, err := receive(t, s, p, image.ReceiverOptions{ConfigDigest: digestOf(p.config), Ask: true}, nil, layers...)
			if !errors.Is(err, image.ErrLacks) || !errors.Is(err, image.ErrNotTaken) {
				t.Fatalf("it ended with %v", err)
			}
			if err := r.Manifest([]byte(`{"schemaVersion": 1}`)); !errors.Is(err, image.ErrLacks) {
				t.Errorf("another form of manifest: %v", err)
			}
			if again, once := r.Again(), r.Again(); !again || once {
				t.Errorf("it is to be pushed again: %t, and then: %t", again, once)
			}
			for digest, want := range map[string]bool{layers[0]: true, layers[1]: false} {
				if _, known := r.Known(digest); known != want {
					t.Errorf("%s is known: %t", digest, known)
				}
			}
			if comes {
				if err := send(t, r.Receiver, high); err != nil {
					t.Fatal(err)
				}
			}
			err = r.Manifest(manifestOf(p, layers...))
			if (err == nil) != comes || errors.Is(err, image.ErrLacks) || r.Again() {
				t.Errorf("it ended with %v", err)
			}
		})
	}
}

// A layer that was pushed is known by the digest that it was pushed under, and what is not
// known has to come.
func TestKnown(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		p := newPicture("lowest layer", "highest layer")
		low, high := gzipped(p.layers[0]), gzipped(p.layers[1])
		if _, err := receive(t, s, p, image.ReceiverOptions{}, [][]byte{low, high}, digestOf(low), digestOf(high)); err != nil {
			t.Fatal(err)
		}
		next := newPicture("lowest layer", "a new layer")
		r, err := receive(t, s, next, image.ReceiverOptions{}, [][]byte{gzipped(next.layers[1])}, digestOf(low), digestOf(gzipped(next.layers[1])))
		if err != nil {
			t.Fatal(err)
		}
		for digest, want := range map[string]bool{
			digestOf(low): true, p.diffIDs[0]: true, digestOf(high): false, p.diffIDs[1]: false, digestOf(p.config): false,
		} {
			if _, known := r.Known(digest); known != want {
				t.Errorf("%s is known: %v", digest, known)
			}
		}
	})
}

// What is pushed of a layer that was found in the sink does not hide that somebody has seen
// meanwhile that its blob is damaged.
func TestPushOfALayerThatIsDamagedMeanwhile(t *testing.T) {
	p := newPicture("lowest layer")
	s := sinktest.NewMemory()
	m := mustStore(t, s, 1, p)
	b := begin(t, s, p, image.ReceiverOptions{}).Begin(t.Context())
	flip(t, s, &m.Artifacts[0])
	packed := gzipped(p.layers[0])
	if _, err := b.Write(packed); err != nil {
		t.Fatal(err)
	}
	if layer, err := b.Commit(digestOf(packed)); !layer || err != nil {
		t.Fatalf("a layer: %t, %v", layer, err)
	}
	if _, found, err := blob.Find(t.Context(), s, p.diffIDs[0]); found || err != nil {
		t.Errorf("the layer is found: %t, %v", found, err)
	}
}

// A sink knows as which blobs Engines have layers: those that came, and those that an Engine
// names with a size of its own.
func TestPushedBlobs(t *testing.T) {
	inBoth(t, func(t *testing.T, s box) {
		p := newPicture("lowest layer", "highest layer")
		low, high := gzipped(p.layers[0]), zstdOf(p.layers[1])
		r, err := receive(t, s, p, image.ReceiverOptions{}, [][]byte{low, high}, digestOf(low), digestOf(high))
		if err == nil {
			_, _, err = r.finish()
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []v1.Descriptor{
			{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.Digest(digestOf(low)), Size: int64(len(low))},
			{MediaType: v1.MediaTypeImageLayerZstd, Digest: digest.Digest(digestOf(high)), Size: int64(len(high))},
		} {
			wantPushed(t, s, p.diffIDs[i], want)
		}
		other := v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.FromString("of another Engine"), Size: 77}
		told := v1.Descriptor{Digest: digest.FromString("of one that repeats what it is told"), Size: 1}
		r = begin(t, s, p, image.ReceiverOptions{Ask: true})
		in := r.Begin(t.Context())
		if _, err := in.Write(p.config); err != nil {
			t.Fatal(err)
		}
		if _, err := in.Commit(digestOf(p.config)); err != nil {
			t.Fatal(err)
		}
		config := v1.Descriptor{Digest: digest.Digest(digestOf(p.config))}
		raw, _ := json.Marshal(v1.Manifest{Config: config, Layers: []v1.Descriptor{other, told}})
		if err := r.Manifest(raw); err != nil {
			t.Fatal(err)
		}
		if _, _, err := r.finish(); err != nil {
			t.Fatal(err)
		}
		wantPushed(t, s, p.diffIDs[0], other,
			v1.Descriptor{MediaType: v1.MediaTypeImageLayerGzip, Digest: digest.Digest(digestOf(low)), Size: int64(len(low))})
		wantPushed(t, s, p.diffIDs[1],
			v1.Descriptor{MediaType: v1.MediaTypeImageLayerZstd, Digest: digest.Digest(digestOf(high)), Size: int64(len(high))})
	})
}

// wantPushed expects these blobs in the entry of a layer, the newest first.
func wantPushed(t *testing.T, s box, diffID string, want ...v1.Descriptor) {
	t.Helper()
	e, found, err := blob.Find(t.Context(), s, diffID)
	if err != nil || !found {
		t.Fatalf("the layer is found: %t, %v", found, err)
	}
	if len(e.Pushed) != len(want) {
		t.Fatalf("it is pushed as %+v, want %+v", e.Pushed, want)
	}
	for i, got := range e.Pushed {
		if got.Digest != want[i].Digest || got.Size != want[i].Size || got.MediaType != want[i].MediaType {
			t.Errorf("it is pushed as %+v, want %+v", got, want[i])
		}
	}
}

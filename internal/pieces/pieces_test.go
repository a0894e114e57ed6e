package pieces

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/blob"
	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// volume is a sink with the newest point of one volume.
type volume struct {
	testing.TB
	sink     *sinktest.Memory
	writer   *seal.Seal      // of who stores; nil in clear
	reader   *seal.Seal      // of who reads
	manifest *point.Manifest // nil before the first
	points   int
}

func newVolume(t testing.TB) *volume { return &volume{TB: t, sink: sinktest.NewMemory()} }

// newSealed returns a volume in a sink that encrypts. Who stores there can open nothing.
func newSealed(t testing.TB) *volume {
	v := newVolume(t)
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	v.writer = sealFor(t, identity.Recipient().String())
	file := filepath.Join(t.TempDir(), "id")
	must(t, os.WriteFile(file, []byte(identity.String()+"\n"), 0o600))
	v.reader, err = seal.New(seal.Options{IdentityFile: file})
	must(t, err)
	return v
}

// sealFor encrypts for a recipient, with a key for names of its own.
func sealFor(t testing.TB, recipient string) *seal.Seal {
	file := filepath.Join(t.TempDir(), "names")
	must(t, os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString([]byte(rand.Text()+rand.Text()))), 0o600))
	s, err := seal.New(seal.Options{Recipients: []string{recipient}, NameKeyFile: file})
	must(t, err)
	return s
}

// inBoth tests in a sink in clear, and in one that encrypts.
func inBoth(t *testing.T, test func(t *testing.T, v *volume)) {
	for name, of := range map[string]func(testing.TB) *volume{"in clear": newVolume, "sealed": newSealed} {
		t.Run(name, func(t *testing.T) { test(t, of(t)) })
	}
}

// source is where the newest point is read from.
func (v *volume) source() Source {
	return Source{Manifest: v.manifest, Open: In(v.sink), Seal: v.reader}
}

func (v *volume) artifact() *events.Artifact { return v.manifest.Artifact(point.MediaTypePieces) }

// store stores a point, and returns how many bytes it added.
func (v *volume) store(plain []byte) int64 {
	v.Helper()
	to := &seal.Sealed{Sink: v.sink, Seal: v.writer}
	known, err := KnownBy(v.Context(), to, v.manifest, "v")
	must(v, err)
	v.points++
	dir := sink.PointDir("h", "volume", "v", fmt.Sprintf("20260101T0000%02dZ-00000000", v.points))
	staging, err := v.sink.Stage(v.Context(), dir, "1")
	must(v, err)
	out, key, err := staging.Create(v.Context(), "volumes/v.pieces.zst", 0)
	must(v, err)
	w, err := NewWriter(v.Context(), codec.Destination{Writer: out}, Options{Sink: to, Staging: staging, Known: known, Size: int64(len(plain))})
	must(v, err)
	_, err = io.Copy(w, onlyReader{bytes.NewReader(plain)})
	must(v, err)
	stored, err := w.Finish()
	must(v, err)
	must(v, out.Commit())
	a := events.Artifact{Key: key, Name: "v", MediaType: point.MediaTypePieces,
		Size: stored.Size, Digest: stored.Digest, UncompressedSize: stored.UncompressedSize}
	if v.writer.Encrypts() {
		a.Encryption = seal.Format
	}
	m := &point.Manifest{FormatVersion: point.PiecesVersion, Artifacts: append(w.Packs(), a)}
	must(v, staging.Publish(v.Context(), []byte(`{"artifacts":[{"key":"`+key+`"}]}`)))
	v.manifest = m
	return m.Added()
}

// onlyReader keeps a reader from choosing how it is read.
type onlyReader struct{ io.Reader }

func (v *volume) read() ([]byte, error) {
	v.Helper()
	r, err := v.source().Volume(v.Context(), v.artifact())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (v *volume) holds(plain []byte) {
	v.Helper()
	if got, err := v.read(); err != nil || !bytes.Equal(got, plain) {
		v.Fatalf("%d bytes came back of %d: %v", len(got), len(plain), err)
	}
}

func noise(size int, seed byte) []byte {
	b := make([]byte, size)
	_, _ = mathrand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func TestThereAndBack(t *testing.T) {
	for name, plain := range map[string][]byte{
		"empty": nil, "one byte": {1}, "zeros": make([]byte, 5<<20), "noise": noise(6<<20, 1),
		"the same twice": slices.Concat(noise(3<<20, 1), noise(3<<20, 1)),
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v *volume) {
				v.store(plain)
				v.holds(plain)
				if added := v.store(plain); added > 4<<10+int64(len(plain))/300 {
					t.Errorf("the same once more adds %d bytes", added)
				}
				v.holds(plain)
			})
		})
	}
}

func TestWhatRepeatsIsStoredOnce(t *testing.T) {
	v := newVolume(t)
	if added := v.store(slices.Concat(noise(3<<20, 1), noise(3<<20, 1))); added > 4<<20 {
		t.Errorf("3 MiB twice take %d bytes", added)
	}
}

// One percent is changed in one place, and something is put in before it.
func TestAChangeAddsWhatChanged(t *testing.T) {
	inBoth(t, func(t *testing.T, v *volume) {
		plain := noise(12<<20, 1)
		v.store(plain)
		changed := slices.Concat(plain[:1<<20], []byte("put in"), plain[1<<20:])
		copy(changed[5<<20:], noise(640<<10, 2))
		if added := v.store(changed); added > 2*(640<<10) {
			t.Errorf("%d bytes were added", added)
		}
		v.holds(changed)
	})
}

// A pack that is damaged, by what an entry says, missing or of another size is not relied on.
func TestADamagedPackIsNotReliedOn(t *testing.T) {
	plain := noise(6<<20, 1)
	for name, harm := range map[string]func(t *testing.T, v *volume, pack *events.Artifact){
		"seen to be damaged": func(t *testing.T, v *volume, pack *events.Artifact) {
			_, err := blob.Forget(t.Context(), &seal.Sealed{Sink: v.sink, Seal: v.writer}, pack)
			must(t, err)
		},
		"gone": func(t *testing.T, v *volume, pack *events.Artifact) {
			must(t, v.sink.RemoveShared(t.Context(), pack.Key))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v *volume) {
				v.store(plain)
				pack := v.manifest.Artifact(point.MediaTypePack)
				harm(t, v, pack)
				if added := v.store(plain); added < pack.Size {
					t.Errorf("%d bytes were added, and %d are lost", added, pack.Size)
				}
				v.holds(plain)
			})
		})
	}
}

func TestAMissingPackIsNamed(t *testing.T) {
	v := newVolume(t)
	v.store(noise(6<<20, 1))
	pack := v.manifest.Artifact(point.MediaTypePack)
	must(t, v.sink.RemoveShared(t.Context(), pack.Key))
	_, err := v.read()
	if !errors.Is(err, codec.ErrDamaged) || !bytes.Contains([]byte(err.Error()), []byte(pack.Key)) {
		t.Error(err)
	}
}

func TestReusable(t *testing.T) {
	large := func(plain int64) events.Artifact { return events.Artifact{Size: firstPack, UncompressedSize: plain} }
	packs := []events.Artifact{large(100), large(100), large(100)}
	if got := reusable([]int64{100, 50, 49}, packs); !slices.Equal(got, []bool{true, true, false}) {
		t.Error(got)
	}
	var many []events.Artifact
	var used []int64
	for i := range maxSmall + 2 {
		many = append(many, events.Artifact{Size: int64(i + 1), UncompressedSize: 1})
		used = append(used, 1)
	}
	if got := reusable(used, many); got[0] || got[1] || slices.Contains(got[2:], false) {
		t.Error(got)
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		known Known
		size  int64
		want  uint32
	}{
		{Known{}, 0, usualNormal},
		{Known{}, 1 << 30, leastNormal},
		{Known{}, 1 << 50, mostNormal},
		{Known{sizes: sizesOf(1 << 18), pieces: 5}, 1, 1 << 18},
		{Known{sizes: sizesOf(leastNormal), pieces: maxKnown + 1}, 0, 2 * leastNormal},
	} {
		if got := c.known.sizesFor(c.size); got.normal != c.want {
			t.Errorf("%v: %v", c, got)
		}
	}
}

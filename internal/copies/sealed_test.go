package copies_test

import (
	"encoding/base64"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/archive"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

// sealNamed is sealFor with a key for names, which is made of a text; an empty one is none.
func sealNamed(t *testing.T, recipient, opens *age.X25519Identity, key string) *seal.Seal {
	t.Helper()
	var o seal.Options
	if recipient != nil {
		o.Recipients = []string{recipient.Recipient().String()}
	}
	if key != "" {
		o.NameKeyFile = filepath.Join(t.TempDir(), "names")
		raw := base64.StdEncoding.EncodeToString([]byte(strings.Repeat(key, 32)))
		if err := os.WriteFile(o.NameKeyFile, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if opens != nil {
		o.IdentityFile = filepath.Join(t.TempDir(), "identity")
		if err := os.WriteFile(o.IdentityFile, []byte(opens.String()+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := seal.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// in returns a sink with a seal, or as it is.
func in(m *sinktest.Memory, s *seal.Seal) sink.Sink {
	if s == nil {
		return m
	}
	return &seal.Sealed{Sink: m, Seal: s}
}

// A copy of a point whose image is in layers can be read by whom it is for, wherever it comes
// from; and the next one brings only what the sink does not have.
func TestCopySealedLayers(t *testing.T) {
	one, two := identity(t), identity(t)
	for name, c := range map[string]struct {
		from, to *seal.Seal
		opens    *age.X25519Identity // what opens the copy; nil if it is in clear
		warned   bool
		entries  int // that the sink has afterwards
	}{
		"clear to clear":              {nil, nil, nil, false, 3},
		"clear to sealed":             {nil, sealNamed(t, two, nil, "b"), two, false, 3},
		"the same":                    {sealNamed(t, one, nil, "a"), sealNamed(t, one, nil, "a"), one, false, 3},
		"another key":                 {sealNamed(t, one, nil, "a"), sealNamed(t, one, nil, "b"), one, false, 0},
		"sealed to clear":             {sealNamed(t, one, nil, "a"), nil, one, false, 0},
		"sealed to the same, no key":  {sealNamed(t, one, nil, "a"), sealFor(t, one, nil), one, false, 0},
		"other recipients":            {sealNamed(t, one, one, "a"), sealNamed(t, two, nil, "a"), two, false, 3},
		"other recipients, not known": {sealNamed(t, one, nil, "a"), sealNamed(t, two, nil, "a"), one, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.seals["a"], b.seals["b"] = c.from, c.to
			first := b.storeLayers(in(b.from, c.from), dir, id, "base", "top")
			r, err := b.copy()
			b.must(err)
			if warned := slices.Contains(events.WarningCodes(r.Warnings), events.WarningOtherRecipients); warned != c.warned || len(r.Warnings) > 4 {
				t.Errorf("the warnings are %+v", r.Warnings)
			}
			b.wantReused(r.Manifest, 0)
			const other = "20260302T141503Z-441e7819"
			otherDir := point.Dir(first.Host, first.Item.Kind, first.Item.Name, other)
			b.storeLayers(in(b.from, c.from), otherDir, other, "base", "another")
			task := b.task()
			task.Point, task.Dir = other, otherDir
			r, err = b.runner.Run(b.Context(), task)
			b.must(err)
			b.wantReused(r.Manifest, 1)
			entries := 0
			for key := range b.to.Contents() {
				if path.Dir(key) == sink.LayersName {
					entries++
				}
			}
			if entries != c.entries {
				t.Errorf("the sink has %d entries, want %d", entries, c.entries)
			}
			var reader *seal.Seal
			if c.opens != nil {
				reader = sealFor(t, nil, c.opens)
			}
			b.mustRead(dir, reader, "base", "top")
			b.mustRead(otherDir, reader, "base", "another")
		})
	}
}

// wantReused expects so many layers of a copy to have been there.
func (b *bench) wantReused(m *point.Manifest, want int) {
	b.Helper()
	got := 0
	for _, a := range m.Artifacts {
		if a.MediaType == point.MediaTypeLayer && a.Reused {
			got++
		}
	}
	if got != want {
		b.Errorf("%d layers were there, want %d: %+v", got, want, m.Artifacts)
	}
}

// mustRead reads the image of a copy, all of it: encrypted, if there is a seal to open it.
func (b *bench) mustRead(dir string, s *seal.Seal, layers ...string) {
	b.Helper()
	m, err := point.Read(b.Context(), b.to, dir)
	b.must(err)
	for _, a := range m.Artifacts {
		if (a.Encryption != "") != (s != nil) {
			b.Errorf("an artifact is %+v", a)
		}
	}
	version := point.LayeredVersion
	if s != nil {
		version = point.SealedLayersVersion
	}
	if m.FormatVersion != version {
		b.Errorf("the copy is of format %d, want %d", m.FormatVersion, version)
	}
	b.must(m.Unseal(b.Context(), s))
	parts, ok, err := image.Source{Manifest: m, Open: b.to.Open, Seal: s}.Layers(b.Context(), "")
	b.must(err)
	var want []string
	for _, l := range layers {
		want = append(want, digestOf(l))
	}
	if !ok || !slices.Equal(parts.DiffIDs(), want) {
		b.Errorf("the layers are %v, want %v", parts.DiffIDs(), want)
	}
	saved := parts.Above(0)
	defer saved.Close()
	_, err = archive.Check(saved, m.Image.ConfigDigest)
	b.must(err)
}

// A sink that encrypts, and finds no layers again, takes none from elsewhere.
func TestCopyLayersToNoLayers(t *testing.T) {
	one, two := identity(t), identity(t)
	for name, from := range map[string]*seal.Seal{"in clear": nil, "for others": sealNamed(t, one, one, "a")} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.seals["a"], b.seals["b"] = from, sealFor(t, two, nil)
			b.storeLayers(in(b.from, from), dir, id, "base")
			before := maps.Clone(b.to.Contents())
			_, err := b.copy()
			b.mustFail(err, events.CodeUnsuitable, "set format: layers and nameKeyFile")
			if !maps.Equal(before, b.to.Contents()) {
				t.Error("something is left")
			}
		})
	}
}

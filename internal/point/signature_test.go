package point_test

import (
	"context"
	"errors"
	"maps"
	"path"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func signer(t *testing.T) *sign.Signer {
	t.Helper()
	private, err := sign.NewKey("test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := sign.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// reader is how somebody reads a sink who trusts these keys of its own and these signers.
func reader(t *testing.T, in sink.Sink, own, signers []string) sink.Sink {
	t.Helper()
	trust, err := sign.NewTrust(own, signers)
	if err != nil {
		t.Fatal(err)
	}
	return &sign.Signed{Sink: in, Trust: trust}
}

const signedDir = "points/web01/container/web-1/20260302T141503Z-441e7818"

// publishAs publishes a point whose manifest this key signs; nil for none.
func publishAs(t *testing.T, s sink.Sink, key *sign.Signer, dir string) {
	t.Helper()
	staging, err := s.Stage(t.Context(), dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	defer staging.Discard(context.Background()) //nolint:errcheck // it was published
	m, err := point.Decode(manifestAt(t, dir, func(*point.Manifest) {}))
	if err != nil {
		t.Fatal(err)
	}
	if err := point.Publish(t.Context(), &sign.Signed{Sink: s, Signer: key}, staging, m); err != nil {
		t.Fatal(err)
	}
}

func TestWhoHasSigned(t *testing.T) {
	own, other := signer(t), signer(t)
	s := sinktest.NewMemory()
	publishAs(t, s, own, signedDir)
	unsigned := "points/web01/container/web-1/20260302T141504Z-441e7818"
	publishAs(t, s, nil, unsigned)
	for name, c := range map[string]struct {
		from     sink.Sink
		dir      string
		signed   bool
		trusted  bool
		untimely bool // it is damaged for who reads so
	}{
		"nothing is said":            {s, signedDir, true, false, false},
		"its own":                    {reader(t, s, []string{own.Public()}, nil), signedDir, true, true, false},
		"another's":                  {reader(t, s, []string{other.Public()}, nil), signedDir, true, false, false},
		"a signer's":                 {reader(t, s, nil, []string{other.Public(), own.Public()}), signedDir, true, true, false},
		"not of the signers":         {reader(t, s, nil, []string{other.Public()}), signedDir, false, false, true},
		"not signed":                 {s, unsigned, false, false, false},
		"not signed, but for others": {reader(t, s, []string{own.Public()}, []string{other.Public()}), unsigned, false, false, true},
	} {
		m, err := point.Read(t.Context(), c.from, c.dir)
		if c.untimely {
			if !errors.Is(err, point.ErrDamaged) || !errors.Is(err, sign.ErrUntrusted) {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil || (m.Signed.Signer != "") != c.signed || m.Signed.Trusted != c.trusted {
			t.Errorf("%s: %+v, %v", name, m, err)
		}
	}
}

// manipulate returns a sink in which objects are others than they were.
func manipulate(t *testing.T, s *sinktest.Memory, change func(objects map[string]string)) *sinktest.Memory {
	t.Helper()
	objects := s.Contents()
	change(objects)
	changed := sinktest.NewMemory()
	for dir := range pointsOf(objects) {
		staging, err := changed.Stage(t.Context(), dir, "1")
		if err != nil {
			t.Fatal(err)
		}
		for key, content := range objects {
			name, within := strings.CutPrefix(key, dir+"/")
			if !within || name == sink.ManifestName {
				continue
			}
			w, _, err := staging.Create(t.Context(), name, 0)
			if err == nil {
				_, err = w.Write([]byte(content))
			}
			if err == nil {
				err = w.Commit()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := staging.Publish(t.Context(), []byte(objects[path.Join(dir, sink.ManifestName)])); err != nil {
			t.Fatal(err)
		}
	}
	return changed
}

func pointsOf(objects map[string]string) map[string]bool {
	dirs := map[string]bool{}
	for key := range objects {
		if path.Base(key) == sink.ManifestName {
			dirs[path.Dir(key)] = true
		}
	}
	return dirs
}

// Whatever somebody does to a point who may write to the sink, and has no key, is noticed.
func TestAPointThatWasChanged(t *testing.T) {
	own, stranger := signer(t), signer(t)
	s := sinktest.NewMemory()
	other := "points/web01/container/web-1/20260302T141504Z-441e7818"
	publishAs(t, s, own, signedDir)
	publishAs(t, s, own, other)
	manifest, signature := path.Join(signedDir, sink.ManifestName), path.Join(signedDir, point.SignatureName)
	resigned := sinktest.NewMemory()
	publishAs(t, resigned, stranger, signedDir)
	unsigned := sinktest.NewMemory()
	publishAs(t, unsigned, nil, signedDir)
	for name, change := range map[string]func(objects map[string]string){
		"changed": func(o map[string]string) {
			o[manifest] = strings.Replace(o[manifest], `"quiesce": "pause"`, `"quiesce": "none"`, 1)
		},
		"its signature is another's":    func(o map[string]string) { o[signature] = o[path.Join(other, point.SignatureName)] },
		"its signature is gone":         func(o map[string]string) { delete(o, signature) },
		"its signature is none":         func(o map[string]string) { o[signature] = "none" },
		"it is another point":           func(o map[string]string) { o[manifest] = o[path.Join(other, sink.ManifestName)] },
		"a stranger has signed it anew": func(o map[string]string) { clear(o); maps.Copy(o, resigned.Contents()) },
		"its signature was taken off":   func(o map[string]string) { clear(o); maps.Copy(o, unsigned.Contents()) },
	} {
		changed := manipulate(t, s, change)
		m, err := point.Read(t.Context(), reader(t, changed, nil, []string{own.Public()}), signedDir)
		if !errors.Is(err, point.ErrDamaged) {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	if _, err := point.Read(t.Context(), reader(t, manipulate(t, s, func(map[string]string) {}), nil, []string{own.Public()}), signedDir); err != nil {
		t.Errorf("unchanged: %v", err)
	}
}

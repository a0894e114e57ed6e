package point_test

import (
	"bytes"
	"errors"
	"path"
	"strings"
	"testing"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
	"holdfast.io/holdfast/schemas/examples"
)

func example(t testing.TB) []byte {
	t.Helper()
	valid, err := examples.Valid("manifest")
	if err != nil {
		t.Fatal(err)
	}
	raw := valid["container.json"]
	if raw == nil {
		t.Fatal("there is no example container.json")
	}
	return raw
}

// A manifest of a later format is told from one that is damaged, whatever else is
// in it.
func TestDecodeALaterFormat(t *testing.T) {
	later := bytes.Replace(example(t), []byte(`"formatVersion": 1`), []byte(`"formatVersion": 99`), 1)
	for _, raw := range [][]byte{later, []byte(`{"formatVersion": 8, "points": [1, 2]}`)} {
		_, err := point.Decode(raw)
		if !errors.Is(err, point.ErrNewer) || !strings.Contains(err.Error(), "reads 1 to 7") {
			t.Errorf("%.40q: %v, want %v", raw, err, point.ErrNewer)
		}
	}
	for _, raw := range []string{"", "{", "{}", `{"formatVersion": 0}`, `{"formatVersion": "2"}`, `{"formatVersion": 1.5}`,
		"[]", `{"formatVersion": 1}`} {
		if _, err := point.Decode([]byte(raw)); err == nil || errors.Is(err, point.ErrNewer) {
			t.Errorf("%q: %v, want that it is no manifest", raw, err)
		}
	}
}

func decode(t *testing.T, raw []byte) *point.Manifest {
	t.Helper()
	m, err := point.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Lists are whole, however long, and what would be too long to be read is not
// written.
func TestTheBoundOfAManifest(t *testing.T) {
	m := decode(t, example(t))
	mount := events.NotIncluded{Type: "bind", Source: "/" + strings.Repeat("s", 500),
		Destination: "/" + strings.Repeat("d", 500), Reason: "a bind mount"}
	for range 4_000 {
		m.NotIncluded = append(m.NotIncluded, mount)
	}
	raw, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if again := decode(t, raw); len(again.NotIncluded) != len(m.NotIncluded) {
		t.Errorf("%d mounts came back as %d", len(m.NotIncluded), len(again.NotIncluded))
	}
	m.Tags["large"] = strings.Repeat("x", point.MaxManifest)
	if _, err := m.Encode(); err == nil || !strings.Contains(err.Error(), "at most 16777216") {
		t.Errorf("the error is %v", err)
	}
}

func TestReadBoundsWhatItReads(t *testing.T) {
	const dir = "points/web01/container/web-1/20260302T141503Z-441e7818"
	for size, want := range map[int]string{point.MaxManifest: "the manifest is damaged",
		point.MaxManifest + 1: "more than 16777216 bytes"} {
		s := sinktest.NewMemory()
		publish(t, s, dir, bytes.Repeat([]byte(" "), size))
		if _, err := point.Read(t.Context(), s, dir); err == nil || !strings.Contains(err.Error(), want) ||
			strings.Contains(err.Error(), "more than") != (size > point.MaxManifest) {
			t.Errorf("%d bytes: %v, want %q", size, err, want)
		}
	}
	s := sinktest.NewMemory()
	publish(t, s, dir, example(t))
	m, err := point.Read(t.Context(), s, dir)
	if err != nil || m.ID != path.Base(dir) {
		t.Errorf("the manifest is %+v, %v", m, err)
	}
	if _, err := point.Read(t.Context(), s, dir+"x"); !errors.Is(err, sink.ErrNotFound) {
		t.Errorf("the error is %v, want %v", err, sink.ErrNotFound)
	}
}

func publish(t *testing.T, s sink.Sink, dir string, manifest []byte) {
	t.Helper()
	staging, err := s.Stage(t.Context(), dir, "1")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(staging.Publish(t.Context(), manifest), staging.Discard(t.Context())); err != nil {
		t.Fatal(err)
	}
}

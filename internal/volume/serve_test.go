package volume_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/volume"
)

// serve does op as a helper does, and returns what its caller makes of the answer.
func serve(t *testing.T, op volume.Op, dir string, in []byte, out *bytes.Buffer) (volume.Answer, error) {
	t.Helper()
	var answer bytes.Buffer
	served := volume.Serve(t.Context(), op, dir, bytes.NewReader(in), out, &answer)
	a, err := volume.ParseAnswer(answer.Bytes())
	if (served == nil) != (err == nil) || err != nil && err.Error() != served.Error() {
		t.Errorf("%v became %v", served, err)
	}
	return a, err
}

// TestServe: all operations, one after the other.
func TestServe(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(from, "a"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	var raw bytes.Buffer
	a, err := serve(t, volume.OpRead, from, nil, &raw)
	if err != nil || a.Report.Entries != 2 || a.Report.Bytes != 7 {
		t.Errorf("got %+v and %v", a, err)
	}
	if a, err := serve(t, volume.OpEmpty, to, nil, nil); err != nil || !a.Empty {
		t.Errorf("got %+v and %v", a, err)
	}
	if a, err := serve(t, volume.OpWrite, to, raw.Bytes(), nil); err != nil || a.Report.Entries != 2 {
		t.Errorf("got %+v and %v", a, err)
	}
	if a, err := serve(t, volume.OpEmpty, to, nil, nil); err != nil || a.Empty {
		t.Errorf("got %+v and %v", a, err)
	}
	if _, err := serve(t, volume.OpWrite, to, raw.Bytes()[:600], nil); !errors.Is(err, volume.ErrCorrupt) || errors.Is(err, volume.ErrFull) {
		t.Errorf("got %v", err)
	}
	if _, err := serve(t, volume.OpClear, to, nil, nil); err != nil {
		t.Error(err)
	}
	if a, err := serve(t, volume.OpEmpty, to, nil, nil); err != nil || !a.Empty {
		t.Errorf("got %+v and %v", a, err)
	}
	if _, err := serve(t, volume.OpRead, filepath.Join(to, "nothing"), nil, &raw); err == nil || errors.Is(err, volume.ErrCorrupt) {
		t.Errorf("got %v", err)
	}
}

// TestAnswer: the caller learns whether there was room, and what was left instead of
// an answer.
func TestAnswer(t *testing.T) {
	_, err := volume.ParseAnswer([]byte(`{"report":{"entries":3,"bytes":5},"error":{"code":"full","message":"no room"}}`))
	if !errors.Is(err, volume.ErrFull) || errors.Is(err, volume.ErrCorrupt) || err.Error() != "no room" {
		t.Errorf("got %v", err)
	}
	for left, want := range map[string]string{
		"":                                       "the helper ended without an answer; it left nothing",
		"fatal error: out of memory\n":           `it left: fatal error: out of memory\n`,
		`{"report":{"entries":3`:                 `it left: {"report"`,
		strings.Repeat("x", volume.MaxAnswer):    "it left: xxxx",
		"{\"report\":{\"entries\":\"\x1b[2J\"}}": `it left: {\"report\":{\"entries\":\"\x1b[2J\"}}`,
	} {
		if _, err := volume.ParseAnswer([]byte(left)); !errors.Is(err, volume.ErrNoAnswer) || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v of %.20q", err, left)
		}
	}
}

// TestReportIsBounded: however much there is to say, an answer is small.
func TestReportIsBounded(t *testing.T) {
	var l volume.List
	volume.AddProblems(&l, 100_000, strings.Repeat("\xff", 4000), strings.Repeat("r", 100))
	a := volume.Answer{Report: volume.Report{Unreadable: l, Changed: l, Mounts: l, Lost: l}}
	raw := encode(t, a)
	if len(raw) > volume.MaxAnswer || l.Count != 100_000 {
		t.Errorf("%d bytes, %d problems", len(raw), l.Count)
	}
	if !strings.HasSuffix(l.String(), "; and 99980 more") {
		t.Errorf("got %.200s", l.String())
	}
}

func encode(t *testing.T, a volume.Answer) []byte {
	t.Helper()
	raw, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

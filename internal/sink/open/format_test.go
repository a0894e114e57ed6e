package open_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/layered"
	"holdfast.io/holdfast/internal/sink/open"
)

// formatOf opens a sink by its configuration, as a worker that never used it.
func formatOf(t *testing.T, c open.Config) string {
	t.Helper()
	set, err := open.New(map[string]open.Config{"default": c}, newMemory(), open.Keys{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := set.Open(t.Context(), "default")
	if err != nil {
		t.Fatal(err)
	}
	existing, err := open.Existing(t.Context(), c, nil)
	if err != nil || layered.FormatOf(existing) != layered.FormatOf(s) {
		t.Errorf("it has format %s, and as one that exists %v", layered.FormatOf(s), err)
	}
	return layered.FormatOf(s)
}

// identityOf returns what a sink in a folder says of itself.
func identityOf(t *testing.T, dir string) (own map[string]any) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, sink.IdentityName))
	if err == nil {
		err = json.Unmarshal(raw, &own)
	}
	if err != nil {
		t.Fatal(err)
	}
	return own
}

func nameKey(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "names")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(make([]byte, 32))), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A sink that is set up keeps its format: what the configuration says, or else layers, unless the
// configuration has something that does not go with them.
func TestFormatOfANewSink(t *testing.T) {
	for _, c := range []struct {
		config open.Config
		want   string
	}{
		{open.Config{}, layered.Layers},
		{open.Config{Format: layered.Layers}, layered.Layers},
		{open.Config{Format: layered.Archive}, layered.Archive},
		{open.Config{Recipients: []string{recipient}}, layered.Archive},
		{open.Config{Recipients: []string{recipient}, NameKeyFile: nameKey(t)}, layered.Layers},
	} {
		dir := t.TempDir()
		c.config.URL = dir
		if got := formatOf(t, c.config); got != c.want || identityOf(t, dir)["format"] != c.want {
			t.Errorf("%+v: it has format %s, and keeps %v, want %s", c.config, got, identityOf(t, dir)["format"], c.want)
		}
		c.config.Format = "" // from then on the sink says it
		if got := formatOf(t, c.config); got != c.want {
			t.Errorf("%+v: later it has format %s, want %s", c.config, got, c.want)
		}
		if got := formatOf(t, open.Config{URL: dir, Format: layered.Archive}); got != layered.Archive {
			t.Errorf("what the configuration says does not count: it is %s", got)
		}
		if got := formatOf(t, open.Config{URL: dir, Format: layered.Layers}); got != layered.Layers {
			t.Errorf("what the configuration says does not count: it is %s", got)
		}
		if kept := identityOf(t, dir)["format"]; kept != c.want {
			t.Errorf("it keeps %v now", kept)
		}
	}
}

// A sink that was set up before sinks kept their format has archives, and stays as it is.
func TestFormatOfASinkThatSaysNone(t *testing.T) {
	dir := t.TempDir()
	const own = `{"formatVersion": 1, "id": "d8a1b8b2-8f0a-4b6e-8d0e-6f5a0b9c1d2e", "created": "2026-11-01T00:00:00Z"}`
	if err := os.WriteFile(filepath.Join(dir, sink.IdentityName), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []open.Config{{URL: dir}, {URL: dir, Recipients: []string{recipient}, NameKeyFile: nameKey(t)}} {
		if got := formatOf(t, c); got != layered.Archive {
			t.Errorf("it has format %s", got)
		}
	}
	if got := formatOf(t, open.Config{URL: dir, Format: layered.Layers}); got != layered.Layers {
		t.Errorf("what the configuration says does not count: it is %s", got)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, sink.IdentityName)); err != nil || string(raw) != own {
		t.Errorf("it is %s, %v", raw, err)
	}
}

// What does not go with the format that a sink keeps is an error that says what to do.
func TestFormatThatDoesNotGo(t *testing.T) {
	dir := t.TempDir()
	formatOf(t, open.Config{URL: dir})
	c := open.Config{URL: dir, Recipients: []string{recipient}}
	_, err := open.Existing(t.Context(), c, nil)
	if !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), "needs nameKeyFile") || !strings.Contains(err.Error(), "set format: archive") {
		t.Errorf("the error is %v", err)
	}
	c.Format = layered.Archive
	if _, err := open.Existing(t.Context(), c, nil); err != nil {
		t.Error(err)
	}
	const own = `{"formatVersion": 1, "id": "d8a1b8b2-8f0a-4b6e-8d0e-6f5a0b9c1d2e", "created": "2026-11-01T00:00:00Z", "format": "rocks"}`
	if err := os.WriteFile(filepath.Join(dir, sink.IdentityName), []byte(own), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Existing(t.Context(), open.Config{URL: dir}, nil); !errors.Is(err, sink.ErrUnavailable) || !strings.Contains(err.Error(), `"rocks" is not known`) {
		t.Errorf("the error is %v", err)
	}
}

// Of several workers that set a sink up at a time, one with another configuration among them, all
// that name no format have the one that the sink keeps.
func TestFormatOfASinkThatSeveralSetUp(t *testing.T) {
	for range 20 {
		dir := t.TempDir()
		var all sync.WaitGroup
		got := make([]string, 4)
		for i := range got {
			c := open.Config{URL: dir}
			if i == 0 {
				c.Recipients = []string{recipient}
			}
			all.Go(func() {
				set, err := open.New(map[string]open.Config{"default": c}, newMemory(), open.Keys{})
				if err != nil {
					t.Error(err)
					return
				}
				s, err := set.Open(t.Context(), "default")
				switch {
				case err == nil:
					got[i] = layered.FormatOf(s)
				case i > 0:
					t.Error(err)
				}
			})
		}
		all.Wait()
		kept := identityOf(t, dir)["format"]
		for i, format := range got {
			if format != kept && (i > 0 || format != "") { // the first says that it cannot have layers
				t.Errorf("worker %d has format %q, and the sink keeps %v", i, format, kept)
			}
		}
	}
}

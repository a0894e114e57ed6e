package pieces

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/sink"
)

// The script in the README brings a volume back without Holdfast.
func TestManual(t *testing.T) {
	for _, tool := range []string{"sh", "zstd", "od"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	readme, err := os.ReadFile("README.md")
	must(t, err)
	_, script, _ := strings.Cut(string(readme), "```sh\n")
	script, _, found := strings.Cut(script, "```")
	if !found {
		t.Fatal("the README has no script")
	}
	v := newVolume(t)
	for _, plain := range [][]byte{{1}, noise(18<<20, 1), slices.Concat(noise(9<<20, 1), noise(1<<20, 2), noise(18<<20, 1)[9<<20:])} {
		v.store(plain) // the last time some of it lies in packs of the time before
		dir := t.TempDir()
		for key, content := range v.sink.Contents() {
			must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(key)), 0o700))
			must(t, os.WriteFile(filepath.Join(dir, key), []byte(content), 0o600))
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script, "whole.sh", filepath.Join(dir, v.artifact().Key), filepath.Join(dir, sink.BlobsName))
		var said bytes.Buffer
		cmd.Stderr = &said
		got, err := cmd.Output()
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes came back of %d: %v\n%s", len(got), len(plain), err, said.String())
		}
	}
}

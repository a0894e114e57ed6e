package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strconv"

	"github.com/docker/docker/api/types/image"
	"github.com/rogpeppe/go-internal/testscript"
)

// deep REF LAYERS makes an image of that many layers.
func cmdDeep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: deep REF LAYERS")
	}
	e := must(ts, engineOnce)
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	raw, err := deepImage(args[0], n)
	ts.Check(err)
	ts.Defer(func() { _, _ = e.api.ImageRemove(context.Background(), args[0], image.RemoveOptions{Force: true}) })
	loaded, err := e.api.ImageLoad(context.Background(), bytes.NewReader(raw))
	ts.Check(err)
	defer loaded.Body.Close()
	_, err = io.Copy(io.Discard, loaded.Body)
	ts.Check(err)
}

// deepImage is an archive as docker save writes them, of an image with n layers of one
// small file each.
func deepImage(ref string, n int) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	var layers, diffs []string
	for i := range n {
		var layer bytes.Buffer
		if err := put(tar.NewWriter(&layer), fmt.Sprint("layer-", i), []byte("a layer\n"), true); err != nil {
			return nil, err
		}
		digest := fmt.Sprintf("%x", sha256.Sum256(layer.Bytes()))
		layers, diffs = append(layers, digest+"/layer.tar"), append(diffs, "sha256:"+digest)
		if err := put(w, digest+"/layer.tar", layer.Bytes(), false); err != nil {
			return nil, err
		}
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "config": map[string]any{"Cmd": []string{"/none"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
	})
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{ref}, "Layers": layers}})
	if err != nil {
		return nil, err
	}
	if err := put(w, "config.json", config, false); err != nil {
		return nil, err
	}
	if err := put(w, "manifest.json", manifest, true); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func put(w *tar.Writer, name string, content []byte, last bool) error {
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
		return err
	}
	if _, err := w.Write(content); err != nil || !last {
		return err
	}
	return w.Close()
}

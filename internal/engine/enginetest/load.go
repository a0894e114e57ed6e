package enginetest

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path"
)

// Load implements [engine.Loader]. It takes the archives that this Engine saves, and those
// that leave out what it has.
func (f *Fake) Load(ctx context.Context, archive io.Reader) (id string, err error) {
	fault, err := f.begin(ctx, Load, "")
	if err != nil {
		return "", err
	}
	files, err := filesOf(archive)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.streams && files["index.json"] != nil {
		if id, err = f.loadLayout(files); err != nil {
			return "", err
		}
		return id, fault.late()
	}
	img, references, err := f.imageOf(files)
	if err != nil {
		return "", err
	}
	if f.streams {
		img.manifest(func(layer []byte) []byte { return layer })
	}
	if there := f.images[img.id]; there != nil {
		img = there
	}
	f.images[img.id] = img
	for _, ref := range references {
		f.tag(img, ref)
	}
	return img.id, fault.late()
}

// filesOf returns the files of an archive by their names.
func filesOf(archive io.Reader) (map[string][]byte, error) {
	files := map[string][]byte{}
	tr := tar.NewReader(archive)
	for {
		h, err := tr.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, archive)
			return files, err
		}
		if err != nil {
			return nil, err
		}
		if files[path.Clean(h.Name)], err = io.ReadAll(tr); err != nil {
			return nil, err
		}
	}
}

func (f *Fake) imageOf(files map[string][]byte) (img *image, references []string, err error) {
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	if err := json.Unmarshal(files["manifest.json"], &manifest); err != nil {
		return nil, nil, fmt.Errorf("the archive has no manifest: %w", err)
	}
	if len(manifest) != 1 {
		return nil, nil, fmt.Errorf("the archive holds %d images, want one", len(manifest))
	}
	img = &image{config: files[manifest[0].Config]}
	img.id = digest(img.config)
	var c config
	if err := json.Unmarshal(img.config, &c); err != nil {
		return nil, nil, fmt.Errorf("the image has no configuration: %w", err)
	}
	for i, name := range manifest[0].Layers {
		layer, sent := files[name]
		if !sent && !f.streams {
			layer = f.shared(c.RootFS.DiffIDs[:min(i+1, len(c.RootFS.DiffIDs))])
		}
		if i >= len(c.RootFS.DiffIDs) || digest(layer) != c.RootFS.DiffIDs[i] {
			return nil, nil, fmt.Errorf("layer %s is not what the configuration says", name)
		}
		img.layers = append(img.layers, layer)
	}
	img.comment = c.Comment
	return img, manifest[0].RepoTags, nil
}

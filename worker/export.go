package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/image"
	"holdfast.io/holdfast/internal/pieces"
	"holdfast.io/holdfast/internal/point"
	"holdfast.io/holdfast/internal/present"
	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
)

func exportCommand() *cobra.Command {
	var volume, output string
	cmd := &cobra.Command{
		Use:   "export POINT",
		Short: "Write an archive of a recovery point as a plain tar",
		Long: `Write an archive of a recovery point as a plain tar to standard output or a file: its
image, as docker load takes it, or one of its volumes. Every byte is held against what
was stored; if the archive is damaged the exit status is 1, and no file is left. What
went to standard output until then must not be used.

` + aboutPoint,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if output == "" && present.IsTerminal(cmd.OutOrStdout()) {
				return usage("a tar is not written to a terminal; give a file with -o, or redirect standard output")
			}
			s, e, err := findReadable(cmd, args[0])
			if err != nil {
				return err
			}
			x, err := chooseExport(e.Manifest, s, volume)
			if err != nil {
				return err
			}
			into := "standard output"
			if output == "" {
				err = x.copy(cmd.Context(), cmd.OutOrStdout())
			} else {
				into = output
				err = writeWhole(output, func(w io.Writer) error { return x.copy(cmd.Context(), w) })
			}
			if err != nil {
				return fmt.Errorf("export %s: %w", x.what, err)
			}
			warn(cmd, "%s, %s, was written to %s", x.what, present.Bytes(x.written), into)
			return nil
		},
	}
	cmd.Flags().StringVar(&volume, "volume", "", "the `VOLUME` to write, in place of the image")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to a `FILE`, which has its name only when it is whole")
	return cmd
}

// export is an archive of a point that is written out.
type export struct {
	what string
	// open returns its plain bytes. An error of theirs that wraps [codec.ErrDamaged] means
	// that what was written must not be used.
	open    func(ctx context.Context) (io.ReadCloser, error)
	written int64 // bytes
}

func (x *export) copy(ctx context.Context, w io.Writer) error {
	plain, err := x.open(ctx)
	if err != nil {
		return err
	}
	defer plain.Close()
	x.written, err = io.Copy(w, plain)
	return err
}

// chooseExport returns the archive of a point to export: the volume of this name, and
// without a name the image, or the only volume.
func chooseExport(m *point.Manifest, from sink.Reader, volume string) (*export, error) {
	volumes := m.Volumes()
	others := ""
	if len(volumes) > 0 {
		others = "it has the volumes " + strings.Join(volumesOf(m), ", ")
	}
	if volume != "" {
		for _, v := range volumes {
			if v.Name == volume {
				return exportOfVolume(m, from, v), nil
			}
		}
		if others == "" {
			others = "it has no volumes"
		}
		return nil, fmt.Errorf("point %s has no volume %q; %s", m.ID, volume, others)
	}
	if _, has := image.SizeOf(m); has {
		x := &export{what: "the image of point " + m.ID, open: func(ctx context.Context) (io.ReadCloser, error) {
			return image.Source{Manifest: m, Open: from.Open, Seal: seal.Of(from)}.Archive(ctx, "")
		}}
		if others != "" {
			x.what += " (" + others + "; --volume writes one)"
		}
		return x, nil
	}
	switch len(volumes) {
	case 0:
		return nil, fmt.Errorf("point %s has no archive that could be exported", m.ID)
	case 1:
		return exportOfVolume(m, from, volumes[0]), nil
	}
	return nil, usage("point %s has no image, but several volumes: say which with --volume; %s", m.ID, others)
}

func exportOfVolume(m *point.Manifest, from sink.Reader, a events.Artifact) *export {
	return &export{what: fmt.Sprintf("volume %s of point %s", a.Name, m.ID), open: func(ctx context.Context) (io.ReadCloser, error) {
		return pieces.Source{Manifest: m, Open: pieces.In(from), Seal: seal.Of(from)}.Volume(ctx, &a)
	}}
}

// writeWhole writes a file that has its name only when it is whole and durable, in
// place of one that had it. What is no file is not replaced.
func writeWhole(name string, write func(io.Writer) error) (err error) {
	info, err := os.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is there, and is no file; redirect standard output to write to it", name)
	}
	dir := filepath.Dir(name)
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+".*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

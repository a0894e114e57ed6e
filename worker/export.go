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
	"holdfast.io/holdfast/internal/codec"
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
			a, what, err := chooseArchive(e.Manifest, volume)
			if err != nil {
				return err
			}
			into := "standard output"
			if output == "" {
				err = copyArchive(cmd.Context(), cmd.OutOrStdout(), s, a)
			} else {
				into = output
				err = writeWhole(output, func(w io.Writer) error { return copyArchive(cmd.Context(), w, s, a) })
			}
			if err != nil {
				return fmt.Errorf("export %s: %w", what, err)
			}
			warn(cmd, "%s, %s, was written to %s", what, present.Bytes(a.UncompressedSize), into)
			return nil
		},
	}
	cmd.Flags().StringVar(&volume, "volume", "", "the `VOLUME` to write, in place of the image")
	cmd.Flags().StringVarP(&output, "output", "o", "", "write to a `FILE`, which has its name only when it is whole")
	return cmd
}

// chooseArchive returns the archive of a point to export, and says what it is: the
// volume of this name, and without a name the image, or the only volume.
func chooseArchive(m *point.Manifest, volume string) (a events.Artifact, what string, err error) {
	volumes := m.Volumes()
	others := ""
	if len(volumes) > 0 {
		others = "it has the volumes " + strings.Join(volumesOf(m), ", ")
	}
	if volume != "" {
		for _, v := range volumes {
			if v.Name == volume {
				return v, fmt.Sprintf("volume %s of point %s", v.Name, m.ID), nil
			}
		}
		if others == "" {
			others = "it has no volumes"
		}
		return a, "", fmt.Errorf("point %s has no volume %q; %s", m.ID, volume, others)
	}
	if image := m.Artifact(point.MediaTypeImageArchive); image != nil {
		what = "the image of point " + m.ID
		if others != "" {
			what += " (" + others + "; --volume writes one)"
		}
		return *image, what, nil
	}
	switch len(volumes) {
	case 0:
		return a, "", fmt.Errorf("point %s has no archive that could be exported", m.ID)
	case 1:
		return volumes[0], fmt.Sprintf("volume %s of point %s", volumes[0].Name, m.ID), nil
	}
	return a, "", usage("point %s has no image, but several volumes: say which with --volume; %s", m.ID, others)
}

// copyArchive writes the plain bytes of an archive. An error that wraps
// [codec.ErrDamaged] means that what was written must not be used.
func copyArchive(ctx context.Context, w io.Writer, from sink.Reader, a events.Artifact) error {
	stored, err := from.Open(ctx, a.Key)
	if err != nil {
		return err
	}
	defer stored.Close()
	plain, err := codec.NewReader(stored, point.Stored(&a), seal.Of(from).Opener(ctx, a.Encryption))
	if err != nil {
		return err
	}
	defer plain.Close()
	n, err := io.Copy(w, plain)
	if err == nil && n != a.UncompressedSize {
		err = fmt.Errorf("%w: it unpacks to %d bytes instead of %d", codec.ErrDamaged, n, a.UncompressedSize)
	}
	return err
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

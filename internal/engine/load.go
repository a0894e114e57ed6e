package engine

import (
	"context"
	"io"
)

// Loader loads images. It may be used by several goroutines.
type Loader interface {
	// Load loads an archive of one image, as docker save writes it, and returns the full
	// id that the image has on this Engine. A reference in the archive is taken from the
	// image that had it. An image that is there already stays as it is. Load reports
	// ErrEngineFull, and ErrBadAnswer if the Engine does not say what it loaded. When ctx
	// ends the Engine may go on.
	//
	// What the archive may leave out is what About.Leaves says. If more is missing it is an
	// error, or an image that Content says is incomplete: a containerd store may take that,
	// and containers run of it that cannot be saved later.
	Load(ctx context.Context, archive io.Reader) (id string, err error)
	// Content returns the manifests of an image by their digests, and of each whether the
	// Engine has all that it names. It reports ErrUnsupported where About.Leaves is not
	// LeavesBlobs.
	Content(ctx context.Context, name string) (map[string]bool, error)
}

// Leaves is what an archive can leave out that an Engine loads.
type Leaves string

// What an archive can leave out.
const (
	// LeavesNothing: every layer must be there.
	LeavesNothing Leaves = ""
	// LeavesLowest: the lowest layers need not be there, as far as another image on the
	// Engine has just these lowest layers. The archive is that of docker save (a classic
	// store).
	LeavesLowest Leaves = "lowest"
	// LeavesBlobs: any layer need not be there that the Engine has as just the blob that the
	// image's manifest names. The archive is an OCI image layout (a containerd store).
	LeavesBlobs Leaves = "blobs"
)

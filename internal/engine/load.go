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
	Load(ctx context.Context, archive io.Reader) (id string, err error)
}

package engine

import "context"

// Registries is what an Engine does with image registries, which it reaches by itself:
// loopback is its own host's, and needs no TLS. It may be used by several goroutines.
type Registries interface {
	// Push pushes the image with this reference to the registry that the reference names,
	// but for the layers that the registry says it has. It returns when the registry has
	// taken all of it, or has refused it, with what it said in the error's text. It stops
	// when ctx ends. It reports ErrNotFound if the Engine has no such image.
	Push(ctx context.Context, reference string, auth Credentials) error
	// LookUp asks the registry that the reference names for it. It takes nothing, and
	// reports ErrNotFound if the registry says that it does not have it.
	LookUp(ctx context.Context, reference string, auth Credentials) error
}

// Credentials are what a registry asks for.
type Credentials struct{ User, Password string }

// String leaves out the password.
func (c Credentials) String() string { return c.User }

// GoString leaves out the password.
func (c Credentials) GoString() string { return c.User }

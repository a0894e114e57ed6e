package engine

import "context"

// Registries is what an Engine does with image registries, which it reaches by itself:
// loopback is its own host's, and needs no TLS. It may be used by several goroutines.
type Registries interface {
	// Push pushes the image with this reference to the registry that the reference names,
	// but for the layers that the registry says it has. It returns when the registry has
	// taken all of it, or has refused it, with what it said in the error's text. It stops
	// when ctx ends. It reports ErrNotFound if the Engine has no such image. progress is called
	// whenever the Engine says that it goes on.
	Push(ctx context.Context, reference string, auth Credentials, progress func()) error
	// Pull takes the image with this reference from the registry that the reference names,
	// and returns when the Engine has it, with that reference. What the registry refuses, or
	// breaks off, is told in the error's text, and nothing is left of it. It stops when ctx
	// ends, but the image may still come then. It reports ErrNotFound if the registry says
	// that it does not have it.
	Pull(ctx context.Context, reference string, auth Credentials) error
	// LookUp asks the registry that the reference names for it, repository:tag or
	// repository@digest. It takes nothing, and
	// reports ErrNotFound if the registry says that it does not have it.
	LookUp(ctx context.Context, reference string, auth Credentials) error
}

// Credentials are what a registry asks for: a name and a password, or a token of the registry, or
// one of who gives such tokens; nothing, if it asks for nothing.
type Credentials struct{ User, Password, RegistryToken, IdentityToken string }

// String leaves out the secrets.
func (c Credentials) String() string { return c.User }

// GoString leaves out the secrets.
func (c Credentials) GoString() string { return c.User }

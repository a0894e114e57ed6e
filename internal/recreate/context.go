// Package recreate brings the whole configuration of a container back. A point holds
// the Engine's inspect document of the container, and its context: what that document
// names but does not hold. From both, and from what is known of the Engine that is to
// have the container, it makes the Engine's create call, and says beforehand what
// cannot be as it was. Afterwards it compares the two inspect documents. All of it is
// pure but [Gather].
package recreate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"holdfast.io/holdfast/internal/engine"
	"holdfast.io/holdfast/schemas"
)

// FormatVersion is the version of the context that this package writes.
const FormatVersion = 1

// MaxContext bounds the size of a context, in bytes.
const MaxContext = 16 << 20

// ErrNewer is wrapped by the error of a context whose format is newer than the one
// that this program reads.
var ErrNewer = errors.New("a newer version of holdfast made it")

// Context is what a container's inspect document names but does not hold, as a point
// stores it. It may hold secrets, like the document itself.
type Context struct {
	FormatVersion int `json:"formatVersion"`
	// Engine is the Engine that the container was on.
	Engine engine.Platform `json:"engine"`
	// Image is the image that the container was made from; nil if it was gone, or
	// the container was made from none.
	Image *Image `json:"image,omitempty"`
	// Networks are those that the container is connected to, Volumes those that it has
	// mounted.
	Networks []Network `json:"networks"`
	Volumes  []Volume  `json:"volumes"`
	// Containers are the other containers that the document names.
	Containers []Container `json:"containers"`
	// Unknown says what could not be found out, one sentence each.
	Unknown []string `json:"unknown,omitempty"`
}

// Image is the image that a container was made from.
type Image struct {
	ID         string   `json:"id"`
	References []string `json:"references"` // repository:tag
	Digests    []string `json:"digests"`    // repository@sha256:…
	// Config is the image's own configuration, as the Engine's API has it: what a
	// container has that did not choose for itself.
	Config json.RawMessage `json:"config,omitempty"`
}

// Subnets says who chose a network's addresses.
type Subnets string

// Engines do not tell what they chose from what they were asked for.
// SubnetsUnknown: it may have been either. SubnetsAsked: they were asked for, as the
// network has what no Engine chooses.
const (
	SubnetsUnknown Subnets = "unknown"
	SubnetsAsked   Subnets = "asked"
)

// Network is a network that a container was connected to.
type Network struct {
	engine.Network
	// Subnets says who chose its addresses.
	Subnets Subnets `json:"subnets"`
}

// Volume is a volume that a container had mounted.
type Volume struct {
	Name    string            `json:"name"`
	Driver  string            `json:"driver"`
	Scope   string            `json:"scope"`
	Options map[string]string `json:"options"`
	Labels  map[string]string `json:"labels"`
	// CreatedAt is when it was made; nil if the Engine does not tell.
	CreatedAt *time.Time `json:"createdAt,omitempty"`
	// Anonymous is set if nobody gave it its name.
	Anonymous bool `json:"anonymous"`
}

// Use is what a container uses another one for.
type Use string

// A container can use the namespaces of another one, its volumes, or be linked to it.
const (
	UseNetwork Use = "network"
	UseIPC     Use = "ipc"
	UsePID     Use = "pid"
	UseVolumes Use = "volumes"
	UseLink    Use = "link"
)

// Container is another container that an inspect document names.
type Container struct {
	// ID is its full id, Name its name without the slash.
	ID   string `json:"id"`
	Name string `json:"name"`
	Uses []Use  `json:"uses"`
}

// Encode returns the context as it is stored: indented JSON, ended by a newline.
func (c *Context) Encode() ([]byte, error) {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the context: %w", err)
	}
	raw = append(raw, '\n')
	if len(raw) > MaxContext {
		return nil, fmt.Errorf("the context would have %d bytes, and at most %d are read back", len(raw), MaxContext)
	}
	if err := schemas.Validate("context", raw); err != nil {
		return nil, fmt.Errorf("the context is not valid: %w", err)
	}
	return raw, nil
}

// DecodeContext reads a context. It reports ErrNewer if its format is newer than the
// one that is known here, and refuses one that does not follow the schema, or is larger
// than MaxContext.
func DecodeContext(raw []byte) (*Context, error) {
	if len(raw) > MaxContext {
		return nil, fmt.Errorf("not a container's context: it has more than %d bytes", MaxContext)
	}
	// The version comes first: a newer context need not look like ours.
	var head struct {
		FormatVersion int `json:"formatVersion"`
	}
	if json.Unmarshal(raw, &head) == nil && head.FormatVersion > FormatVersion {
		return nil, fmt.Errorf("the context is of format %d, and this version of holdfast reads %d: %w; use that one",
			head.FormatVersion, FormatVersion, ErrNewer)
	}
	if err := schemas.Validate("context", raw); err != nil {
		return nil, fmt.Errorf("not a container's context: %w", err)
	}
	var c Context
	if err := json.NewDecoder(bytes.NewReader(raw)).Decode(&c); err != nil {
		return nil, fmt.Errorf("decode the context: %w", err)
	}
	return &c, nil
}

// find returns the other container that a document calls by its id, the beginning of
// it, or its name.
func (c *Context) find(ref string) (Container, bool) {
	if c == nil || ref == "" {
		return Container{}, false
	}
	for _, match := range []func(Container) bool{
		func(o Container) bool { return o.ID == ref || o.Name == strings.TrimPrefix(ref, "/") },
		func(o Container) bool { return strings.HasPrefix(o.ID, ref) },
	} {
		if i := slices.IndexFunc(c.Containers, match); i >= 0 {
			return c.Containers[i], true
		}
	}
	return Container{}, false
}

// Spec returns the network as it is to be made again. Subnets that the Engine may have
// chosen are left to the Engine unless they are to be kept.
func (n *Network) Spec(keepSubnets bool) engine.Network {
	spec := n.Network
	if n.Subnets != SubnetsAsked && !keepSubnets {
		spec.IPAM.Subnets = nil
	}
	return spec
}

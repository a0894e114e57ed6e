package engine

import (
	"context"
	"errors"
)

// ErrOverlap: a network's addresses are in use on the Engine's host already.
var ErrOverlap = errors.New("its addresses are in use on the Engine's host already")

// Network is a network as it is configured. As JSON it is part of a point's context.
type Network struct {
	ID     string `json:"id"`
	Name   string `json:"name"`
	Driver string `json:"driver"`
	// Scope is "local", or "swarm" or "global" for one that several Engines share.
	Scope      string `json:"scope"`
	Internal   bool   `json:"internal"`
	Attachable bool   `json:"attachable"`
	Ingress    bool   `json:"ingress"`
	// NoIPv4 is set if it has no IPv4 addresses, IPv6 if it has IPv6 addresses.
	NoIPv4 bool `json:"noIPv4"`
	IPv6   bool `json:"ipv6"`
	// ConfigOnly is set if it only holds a configuration for others, ConfigFrom names
	// the one that this takes its own from.
	ConfigOnly bool              `json:"configOnly"`
	ConfigFrom string            `json:"configFrom,omitempty"`
	IPAM       IPAM              `json:"ipam"`
	Options    map[string]string `json:"options"`
	Labels     map[string]string `json:"labels"`
}

// IPAM is how a network's addresses are managed.
type IPAM struct {
	Driver  string            `json:"driver"`
	Options map[string]string `json:"options"`
	// Subnets are those that it has, whether they were asked for or chosen by the Engine.
	Subnets []Subnet `json:"subnets"`
}

// Subnet is a range of addresses that a network has.
type Subnet struct {
	Subnet string `json:"subnet"`
	// Range is the part of it that containers get addresses of; empty for all of it.
	Range   string `json:"range,omitempty"`
	Gateway string `json:"gateway,omitempty"`
	// Reserved are addresses that no container gets, by their names.
	Reserved map[string]string `json:"reserved,omitempty"`
}

// Networks is what an Engine does with networks. It may be used by several
// goroutines.
type Networks interface {
	// Networks lists all networks, in any order.
	Networks(ctx context.Context) ([]Network, error)
	// CreateNetwork makes a network and returns its id. Without subnets the Engine
	// chooses them; the ID does not matter. It reports ErrNameTaken, and ErrOverlap.
	CreateNetwork(ctx context.Context, n Network) (id string, err error)
	// RemoveNetwork removes the network with this full id. It is no error if it is not
	// there. One that a running container is connected to stays, and that is ErrInUse.
	RemoveNetwork(ctx context.Context, id string) error
	// Connect connects a container to a network, by its id or its name, with the
	// endpoint's settings as the Engine's API has them (EndpointSettings). It reports
	// ErrNotFound.
	Connect(ctx context.Context, network, containerID string, endpoint []byte) error
	// Disconnect disconnects a container from a network. It reports ErrNotFound, and an
	// error if the container is not connected to it.
	Disconnect(ctx context.Context, network, containerID string) error
}

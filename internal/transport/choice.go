package transport

import (
	"fmt"

	"holdfast.io/holdfast/events"
	"holdfast.io/holdfast/internal/bytesize"
)

// Facts are what the choice of a transport rests on.
type Facts struct {
	// Container is set for a container's snapshot: nothing else has a name of ours that it
	// can be pushed by.
	Container bool
	// Layered is set if all sinks to which the point goes store it in layers.
	Layered bool
	// Direct is set if it goes to one sink, which lies in a registry to which the Engine pushes by
	// itself. If that lies in one to which the Engine does not, NotDirect is why.
	Direct    bool
	NotDirect string
	// NotReached is why the Engine does not reach the worker's registry; empty if it does.
	NotReached string
	// Ahead is set if there is no snapshot yet: how large its own layer, the last one, will be
	// is not known.
	Ahead bool
	// Streams is set if the Engine has layers compressed, as it will push them.
	Streams bool
	// Layers is how many layers the image has, Missing how many of them a sink does not
	// have, and OnlyLast is set if no other than the last one is missing in any.
	Layers, Missing int
	OnlyLast        bool
	// Uneven is set if another layer than the last one is missing in some of several sinks, and not
	// in all: each of them would store what is pushed.
	Uneven bool
	// Size is the image's, and New that of its last layer, in bytes.
	Size, New int64
	// Untold is set if the Engine has sent layers of this image's base that were stored:
	// it does not know them by the digest of a push.
	Untold bool
}

// Choice is how an image is moved, and why.
type Choice struct {
	Transport events.Transport
	Reason    string // for people
}

// slower is how many times as long an Engine takes to compress a layer for a push as to
// save it. A layer below small is compressed in less than half a second, however small the
// image.
const (
	slower = 5
	small  = 8 << 20 // bytes
)

// CanPush reports why an image can't be pushed, whatever it is; empty if it can.
func (f Facts) CanPush() (why string) {
	switch {
	case !f.Container:
		return "only the snapshots of containers are pushed"
	case !f.Layered:
		return "the point goes to a sink with format archive"
	}
	return f.NotReached
}

// Choose chooses how an image is moved.
func Choose(f Facts) Choice {
	if f.Container && f.Layered && f.Direct && (f.Layers > 0 || f.Ahead) {
		return Choice{events.TransportDirect, "the Engine pushes to the sink's registry by itself"}
	}
	c := f.throughWorker()
	if f.NotDirect != "" {
		c.Reason += "; " + f.NotDirect
	}
	return c
}

// throughWorker chooses how an image is moved whose bytes the worker stores.
func (f Facts) throughWorker() Choice {
	save := func(format string, args ...any) Choice {
		return Choice{events.TransportSave, fmt.Sprintf(format, args...)}
	}
	push := func(why string) Choice { return Choice{events.TransportPush, why} }
	why := f.CanPush()
	switch {
	case why != "":
		return save("%s", why)
	case f.Layers == 0:
		return save("the image has no layers")
	case f.Missing == 0:
		return push("the sink has all layers")
	case f.Uneven:
		return save("the sinks do not lack the same layers")
	case f.Streams:
		return push("the Engine has the layers as it pushes them")
	case !f.OnlyLast:
		return save("%d of %d layers are not stored yet, and the Engine would compress them one by one", f.Missing, f.Layers)
	case f.Untold:
		return save("the Engine would send the layers that are stored, too")
	case f.Ahead:
		return push(fmt.Sprintf("only the last layer is new; if it has more than %s, all is saved", bytesize.Format(f.most())))
	case f.New > f.most():
		return save("much is new: %s of %s, which the Engine would compress", bytesize.Format(f.New), bytesize.Format(f.Size))
	}
	return push("only the last layer is new")
}

// most is how many bytes may be new of an image that is pushed.
func (f Facts) most() int64 { return max(f.Size/slower, small) }

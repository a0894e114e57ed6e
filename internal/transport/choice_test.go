package transport_test

import (
	"testing"

	"holdfast.io/holdfast/internal/transport"
)

// How an image is moved, and what people are told of why.
func TestChoose(t *testing.T) {
	const mb = 1 << 20
	usual := transport.Facts{Container: true, Layered: true, Layers: 5, Missing: 1, OnlyLast: true, Size: 1000 * mb, New: mb}
	with := func(change func(f *transport.Facts)) transport.Facts {
		f := usual
		change(&f)
		return f
	}
	for want, f := range map[string]transport.Facts{
		"save: only the snapshots of containers are pushed":                       with(func(f *transport.Facts) { f.Container = false }),
		"save: the point does not go to one sink in layers":                       with(func(f *transport.Facts) { f.Layered = false }),
		"save: it runs elsewhere":                                                 with(func(f *transport.Facts) { f.NotReached = "it runs elsewhere" }),
		"save: the image has no layers":                                           with(func(f *transport.Facts) { f.Layers, f.Missing, f.OnlyLast = 0, 0, false }),
		"push: only the last layer is new":                                        with(func(f *transport.Facts) { f.Size, f.New = 8*mb, 8*mb }),
		"push: the sink has all layers":                                           with(func(f *transport.Facts) { f.Missing, f.OnlyLast = 0, false }),
		"push: the Engine has the layers as it pushes them":                       with(func(f *transport.Facts) { f.Streams, f.Missing, f.OnlyLast = true, 5, false }),
		"save: the Engine would send the layers that the sink has, too":           with(func(f *transport.Facts) { f.Untold = true }),
		"save: most is new: 201 MiB of 1000 MiB, which the Engine would compress": with(func(f *transport.Facts) { f.New = 201 * mb }),
		"save: the sink does not have 2 of 5 layers, which the Engine would compress one by one": with(func(f *transport.Facts) {
			f.Missing, f.OnlyLast = 2, false
		}),
	} {
		t.Run(want, func(t *testing.T) {
			c := transport.Choose(f)
			if got := string(c.Transport) + ": " + c.Reason; got != want {
				t.Errorf("it is %q", got)
			}
		})
	}
}

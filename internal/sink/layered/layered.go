// Package layered marks a sink in which new points have their images in layers.
package layered

import "holdfast.io/holdfast/internal/sink"

// Formats of images, as a configuration names them.
const (
	Archive = "archive" // one object for each point
	Layers  = "layers"  // each layer once, for all points
)

// Sink is a sink whose format is Layers.
type Sink struct{ sink.Sink }

// Unwrap returns the sink itself, for [sink.As].
func (s *Sink) Unwrap() sink.Sink { return s.Sink }

// FormatOf returns the format of a sink.
func FormatOf(s sink.Reader) string {
	if Is(s) {
		return Layers
	}
	return Archive
}

// Is reports whether the format of a sink is Layers.
func Is(s sink.Reader) bool {
	_, ok := sink.As[*Sink](s)
	return ok
}

package oci

import "time"

// Hasten returns options with which a request is tried again after so long the first time, and
// with which one looks for so long whether another process has created the same object.
func (o Options) Hasten(first, settle time.Duration) Options {
	o.first, o.settle = first, settle
	return o
}

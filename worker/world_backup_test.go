package main

import (
	"testing"
)

// TestWorld backs up a container in a world where nothing goes wrong.
func TestWorld(t *testing.T) {
	w := newWorld(t, worldOptions{})
	name := w.container("a", 1<<20)
	w.start(workerOptions{})
	w.verify(w.backup("plain", name), w.backup("none", name))
}

package file

import (
	"context"
	"errors"
	"os"

	"github.com/google/uuid"
)

// Probe writes a small file durably, and removes it.
func (s *Sink) Probe(context.Context) error {
	return s.within(func(root *os.Root) error {
		if err := s.verify(root); err != nil {
			return err
		}
		name := ".probe-" + uuid.NewString()
		err := writeFile(root, name, []byte("holdfast doctor\n"))
		return explain(s.dir, errors.Join(err, root.RemoveAll(name)))
	})
}

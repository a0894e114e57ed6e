package file

import (
	"context"
	"errors"

	"github.com/google/uuid"
)

// Probe writes a small file durably, and removes it.
func (s *Sink) Probe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	root, err := s.top()
	if err != nil {
		return err
	}
	defer root.Close()
	name := ".probe-" + uuid.NewString()
	err = writeFile(root, name, []byte("holdfast doctor\n"))
	return explain(s.dir, errors.Join(err, root.RemoveAll(name)))
}

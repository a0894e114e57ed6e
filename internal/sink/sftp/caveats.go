package sftp

import (
	"context"
	"errors"

	"holdfast.io/holdfast/internal/sink"
)

// Caveats implements [object.Store].
func (s *Store) Caveats(ctx context.Context, key string) (caveats []string, err error) {
	err = s.put(ctx, key, []byte("first"), blindly)
	if err == nil {
		err = s.put(ctx, key, []byte("second"), blindly)
	}
	switch {
	case err == nil:
		caveats = append(caveats, "the server has no "+extHardlink+", and its rename replaces what is there: "+
			"should two workers store one point at a time, the later manifest replaces the first")
	case !errors.Is(err, sink.ErrExists):
		return nil, err
	}
	err = s.try(ctx, key, func(l *link) error {
		caveats = append(caveats, lacks(l)...)
		info, err := l.lstat(ctx, s.path(key))
		if err == nil && info.Mode().Perm()&^fileMode != 0 {
			caveats = append(caveats, "the server keeps no modes: others who have an account there may read what is stored")
		}
		return err
	})
	return caveats, err
}

// lacks returns what follows from extensions that the server does not have.
func lacks(l *link) (caveats []string) {
	for _, e := range []struct{ name, so string }{
		{extFsync, "what was stored last may be lost when the server loses its power"},
		{extPosixRename, "while an object is replaced, there may be none for a moment"},
		{extStatVFS, "how much is free there cannot be told, and a full disk looks like any other failure; quota bounds what is stored"},
	} {
		if !l.has(e.name) {
			caveats = append(caveats, "the server has no "+e.name+": "+e.so)
		}
	}
	return caveats
}

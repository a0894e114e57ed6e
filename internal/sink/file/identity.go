package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"holdfast.io/holdfast/internal/sink"
)

// readIdentity reads the sink's identity. It reports fs.ErrNotExist if the folder
// has none.
func readIdentity(root *os.Root) (sink.Identity, error) {
	f, err := openFile(root, sink.IdentityName)
	if err != nil {
		return sink.Identity{}, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, sink.MaxIdentity))
	if err != nil {
		return sink.Identity{}, err
	}
	return sink.DecodeIdentity(raw)
}

// setUp makes the folder a sink, with this format. Of several processes that try at a time the
// first one wins, and all return its identity.
func (m maker) setUp(root *os.Root, format string) (sink.Identity, error) {
	if _, err := root.Lstat(sink.PointsName); err == nil {
		// Another process may have set the sink up meanwhile, and begun to use it.
		own, err := readIdentity(root)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("it has %s, but no %s; restore that file from a copy", sink.PointsName, sink.IdentityName)
		}
		return own, err
	} else if !errors.Is(err, fs.ErrNotExist) {
		return sink.Identity{}, err
	}
	own := sink.NewIdentity(format)
	raw, err := own.Encode()
	if err != nil {
		return sink.Identity{}, err
	}
	if err := m.claim(root, own.ID, raw); err != nil && !errors.Is(err, fs.ErrExist) {
		return sink.Identity{}, err
	}
	if err := syncFolder(root); err != nil {
		return sink.Identity{}, err
	}
	return readIdentity(root)
}

// claim makes the identity, or reports fs.ErrExist. A link fails if the name is
// taken, where a rename would replace it, and nobody sees half a file. Where there
// are no hard links (exFAT, some network mounts) the file is made in its place.
func (m maker) claim(root *os.Root, id string, raw []byte) error {
	temporary := "." + sink.IdentityName + "." + id
	if err := m.writeFile(root, temporary, raw); err != nil {
		return err
	}
	err := root.Link(temporary, sink.IdentityName)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		err = m.writeFile(root, sink.IdentityName, raw)
	}
	return errors.Join(err, root.Remove(temporary))
}

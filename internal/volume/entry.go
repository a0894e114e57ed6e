package volume

import (
	"archive/tar"
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// maxName is the length of a file's name, of an attribute's too, in Linux.
const maxName = 255

// entry is what an archive says of one file, and may be unpacked as far as that shows
// without looking at where it goes.
type entry struct {
	kind byte
	// path are the names from the root down, none for the root itself. None of them
	// is empty, "." or "..", or has a slash.
	path []string
	// target is of a symbolic link what it says, whatever that is; link of a hard
	// link the path of the other entry.
	target       string
	link         []string
	mode         uint32
	uid, gid     int
	size         int64
	mtime        timestamp
	major, minor uint32
	attributes   []attribute
}

// tarName is a path as it stands in an archive.
func tarName(path []string) string { return "./" + strings.Join(path, "/") }

// newEntry takes an entry as it was read. The error says what is wrong with it.
func newEntry(h *tar.Header) (*entry, error) {
	e := &entry{
		kind: h.Typeflag, mode: uint32(h.Mode & 0o7777), uid: h.Uid, gid: h.Gid, size: h.Size,
		mtime: timestamp{h.ModTime.Unix(), int64(h.ModTime.Nanosecond())},
	}
	var err error
	if e.path, err = splitName(h.Name); err != nil {
		return nil, err
	}
	if !isID(h.Uid) || !isID(h.Gid) {
		return nil, fmt.Errorf("there is no owner %d:%d", h.Uid, h.Gid)
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		e.kind = tar.TypeReg
	case tar.TypeDir, tar.TypeFifo:
	case tar.TypeSymlink:
		if e.target = h.Linkname; e.target == "" {
			return nil, errors.New("it is a symbolic link to nothing")
		}
	case tar.TypeLink:
		e.link, err = splitLink(h.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		e.major, e.minor, err = device(h.Devmajor, h.Devminor)
	default:
		return nil, fmt.Errorf("it is of an unknown type %q", h.Typeflag)
	}
	if err != nil {
		return nil, err
	}
	if len(e.path) == 0 && e.kind != tar.TypeDir {
		return nil, errors.New("the root is not a folder")
	}
	e.attributes, err = attributesOf(h.PAXRecords)
	return e, err
}

// device returns a device's numbers, of 32 bits each.
func device(major, minor int64) (uint32, uint32, error) {
	if major < 0 || major > math.MaxUint32 || minor < 0 || minor > math.MaxUint32 {
		return 0, 0, fmt.Errorf("there is no device %d:%d", major, minor)
	}
	return uint32(major), uint32(minor), nil
}

// splitLink takes the name apart that a hard link is to.
func splitLink(name string) ([]string, error) {
	link, err := splitName(name)
	switch {
	case err != nil:
		return nil, fmt.Errorf("its link: %w", err)
	case len(link) == 0:
		return nil, errors.New("it is a hard link to the root")
	}
	return link, nil
}

// splitName takes a name apart, which must be one below the root.
func splitName(name string) ([]string, error) {
	if strings.HasPrefix(name, "/") {
		return nil, errors.New("its name is absolute")
	}
	parts := strings.Split(name, "/")
	kept := parts[:0]
	for _, part := range parts {
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			return nil, errors.New("its name leads out of the root")
		case len(part) > maxName:
			return nil, fmt.Errorf("its name has a part of %d bytes; %d are possible", len(part), maxName)
		case strings.IndexByte(part, 0) >= 0:
			return nil, errors.New("its name has a zero byte")
		}
		kept = append(kept, part)
	}
	return kept, nil
}

// isID reports whether an owner can be that; the last number means none.
func isID(id int) bool { return id >= 0 && int64(id) < math.MaxUint32 }

// attributesOf are the extended attributes in an entry's records, in the order of
// their names.
func attributesOf(records map[string]string) ([]attribute, error) {
	if len(records) == 0 {
		return nil, nil
	}
	var list []attribute
	for key, value := range records {
		name, ok := strings.CutPrefix(key, recordXattr)
		if !ok {
			continue
		}
		name = unescapeAttribute.Replace(name)
		if name == "" || len(name) > maxName {
			return nil, fmt.Errorf("an extended attribute's name has %d bytes", len(name))
		}
		list = append(list, attribute{name, value})
	}
	slices.SortFunc(list, func(a, b attribute) int { return cmp.Compare(a.name, b.name) })
	return list, nil
}

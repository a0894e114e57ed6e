// Package volume turns a folder tree into a tar stream and back, and proves that
// such a stream is whole. It runs where the tree is, which for a volume is a helper
// container: see [Serve] for how one is spoken with.
//
// The stream is a PAX tar that GNU tar unpacks as it was with
//
//	tar -x --xattrs --xattrs-include='*' --acls --sparse --numeric-owner -p
//
// Its first entry is "./", the root's own; all others are named below that, depth
// first: what is in a folder and no folder comes before the folders in it. At the
// end are two blocks of zeros. An entry keeps owners as numbers, the mode with
// setuid, setgid and sticky, the time of modification to the nanosecond, and all
// extended attributes that this process may see: those of the user, file
// capabilities, POSIX ACLs (as they are, and as SCHILY.acl text for other programs)
// and labels. Names are bytes, as the kernel has them, whatever their encoding and
// length. Files that are linked are found by device and inode and stored once. Holes
// are stored as GNU.sparse 1.0 records; what is zero becomes a hole when a tree is
// written.
//
// Not kept are times of access, change and birth, the flags of chattr, and sockets,
// which mean nothing without the program that listens. What is mounted below the
// root belongs to another volume, and only the empty folder is stored.
//
// Memory does not depend on the size of the tree, but for what is remembered of
// files with several names ([Archive]), and some 20 bytes for each entry ([Check]).
package volume

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ErrCorrupt is wrapped by every error that says that a stream is no whole archive,
// or holds what may not be unpacked. It says where.
var ErrCorrupt = errors.New("the volume's archive is corrupt")

// ErrFull is wrapped by errors of [Extract]: there is no room for the content where
// it is written, or no quota.
var ErrFull = errors.New("no space left on the volume")

// ErrNotFolder: what was to be read or written is there, and is no folder, as where a
// single file is mounted.
var ErrNotFolder = errors.New("it is not a folder")

// Report is what came of reading or writing a tree. It is the same in [Archive],
// [Extract] and [Check] of one stream as far as Entries and Bytes go.
type Report struct {
	// Entries counts the stream's entries, the root's own among them.
	Entries int64 `json:"entries"`
	// Bytes is the size of all files, their holes included and each file once.
	Bytes int64 `json:"bytes"`
	// Sockets counts the sockets that were left out.
	Sockets int64 `json:"sockets,omitempty"`
	// Unreadable is what could not be read: it is missing from the stream, or has
	// zeros where it should have content. A stream with any is not a backup.
	Unreadable List `json:"unreadable,omitzero"`
	// Changed is what was changed, grew, shrank, or went while it was read. The
	// stream has a state of each that may never have been: what was appended is cut,
	// what was missing at the end is zero.
	Changed List `json:"changed,omitzero"`
	// Mounts is what is mounted below the root, and was left out.
	Mounts List `json:"mounts,omitzero"`
	// Lost is what the file system or the permissions of this process did not allow
	// to keep of an entry that is there otherwise: an attribute, an owner.
	Lost List `json:"lost,omitzero"`
}

// Problem is one thing to say of one path.
type Problem struct {
	// Path is relative to the root, as text: what is no printable UTF-8 is escaped,
	// and a long one cut in its middle.
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// maxListed is how many problems a list names, and maxShown how much it shows of a
// path: a report stays small whatever the tree.
const (
	maxListed = 20
	maxShown  = 512
)

// List is a bounded list of problems.
type List struct {
	// Count is how many there are; the first of them are in First.
	Count int64     `json:"count"`
	First []Problem `json:"first"`
}

func (l *List) add(path, reason string) {
	l.Count++
	if len(l.First) < maxListed {
		l.First = append(l.First, Problem{Path: printable(path), Reason: reason})
	}
}

// String is the list for people: "a: permission denied; b: permission denied; and 3 more".
func (l List) String() string {
	var b strings.Builder
	for i, p := range l.First {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Path + ": " + p.Reason)
	}
	if more := l.Count - int64(len(l.First)); more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

// printable is a path as text.
func printable(path string) string {
	if len(path) > maxShown {
		half := maxShown / 2
		path = path[:half] + "…" + path[len(path)-half:]
	}
	if utf8.ValidString(path) && strings.IndexFunc(path, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return path
	}
	quoted := strconv.Quote(path)
	return quoted[1 : len(quoted)-1]
}

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

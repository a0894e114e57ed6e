package volume

import (
	"archive/tar"
	"hash/maphash"
	"io"
	"slices"
)

// Check reads an archive to its end and writes nothing. Without an error [Extract]
// would find nothing wrong with it in a folder that is empty: it is whole to its end
// mark, no name leads out of the root or through something that is not a folder, none
// comes twice, and what hard links name has come before. An error wraps [ErrCorrupt]
// if it is the archive's, and is that of r otherwise.
//
// It remembers a number for each name instead of the name. So there is a chance that
// a good archive is taken for one with a name twice, about one in a million for ten
// million entries, and another one each time.
func Check(r io.Reader) (Report, error) {
	c := checker{stream: newStream(r), seen: map[uint64]bool{}, seed: maphash.MakeSeed()}
	var report Report
	for {
		e, err := c.stream.next()
		report.Entries = c.stream.entries
		if err == io.EOF {
			return report, nil
		}
		if err != nil {
			return report, err
		}
		if wrong := c.check(e); wrong != "" {
			return report, corrupt("%s: %s", c.stream.place(tarName(e.path)), wrong)
		}
		if e.kind == tar.TypeReg {
			report.Bytes += e.size
		}
	}
}

type checker struct {
	stream *stream
	// seen are the names that came, and whether they are folders, implied ones too.
	seen map[uint64]bool
	seed maphash.Seed
	// folder is the folder of the entry before.
	folder []string
}

// check returns what is wrong with an entry.
func (c *checker) check(e *entry) string {
	if len(e.path) == 0 {
		return ""
	}
	if wrong := c.enter(e.path[:len(e.path)-1]); wrong != "" {
		return wrong
	}
	if e.kind == tar.TypeLink {
		if folder, there := c.seen[c.number(e.link)]; !there || folder {
			return "it is a hard link to " + printable(tarName(e.link)) + ", which is no file that came before it"
		}
	}
	id := c.number(e.path)
	folder, there := c.seen[id]
	if there && (!folder || e.kind != tar.TypeDir) {
		return "its name came before"
	}
	c.seen[id] = e.kind == tar.TypeDir
	return ""
}

// enter proves that a path is one of folders.
func (c *checker) enter(path []string) string {
	if slices.Equal(path, c.folder) {
		return ""
	}
	var h maphash.Hash
	h.SetSeed(c.seed)
	for i, name := range path {
		id := extend(&h, name)
		if folder, there := c.seen[id]; there && !folder {
			return "its name leads through " + printable(tarName(path[:i+1])) + ", which is not a folder"
		}
		c.seen[id] = true
	}
	c.folder = append(c.folder[:0], path...)
	return ""
}

func (c *checker) number(path []string) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	var id uint64
	for _, name := range path {
		id = extend(&h, name)
	}
	return id
}

// extend is the number of the path that goes on with name.
func extend(h *maphash.Hash, name string) uint64 {
	_, _ = h.WriteString(name)
	_ = h.WriteByte('/')
	return h.Sum64()
}

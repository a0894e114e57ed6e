package volume

import (
	"archive/tar"
	"bufio"
	"errors"
	"fmt"
	"io"
)

// stream reads an archive entry by entry. It is archive/tar's reader, but for two
// things: an archive without its end mark is an error, and one can tell what is
// wrong with the archive from what is wrong with where it comes from.
type stream struct {
	tar     *tar.Reader
	source  *source
	entries int64
}

const readAhead = 64 << 10

func newStream(r io.Reader) *stream {
	s := &source{r: bufio.NewReaderSize(r, readAhead)}
	return &stream{tar: tar.NewReader(s), source: s}
}

// next is the next entry, if it may be unpacked; io.EOF says that the archive is
// whole and has no more.
func (s *stream) next() (*entry, error) {
	h, err := s.tar.Next()
	if err == io.EOF {
		return nil, s.end()
	}
	if err != nil {
		return nil, s.wrong(err, fmt.Sprintf("after entry %d", s.entries))
	}
	s.entries++
	e, err := newEntry(h)
	if err != nil {
		return nil, corrupt("%s: %v", s.place(h.Name), err)
	}
	if s.entries == 1 && (e.kind != tar.TypeDir || len(e.path) > 0) {
		return nil, corrupt("%s: the first entry is not the root's own", s.place(h.Name))
	}
	return e, nil
}

// place names the entry that was read last.
func (s *stream) place(name string) string {
	return fmt.Sprintf("entry %d, %s", s.entries, printable(name))
}

// end proves that the archive ends with its mark, and that nothing comes after it but
// zeros. Without two blocks of zeros archive/tar has asked for more, and got nothing.
func (s *stream) end() error {
	if s.source.ended {
		return corrupt("its end mark is missing: it was cut short after entry %d", s.entries)
	}
	if s.entries == 0 {
		return corrupt("it has no entries, not even the root's own")
	}
	var rest [len(zeros)]byte
	for {
		n, err := s.source.Read(rest[:])
		if !isZero(rest[:n]) {
			return corrupt("something follows its end, after entry %d", s.entries)
		}
		if err == io.EOF {
			return io.EOF
		}
		if err != nil {
			return s.wrong(err, "at its end")
		}
	}
}

// wrong is an error of reading the archive: that of the source if it failed, else the
// archive's own.
func (s *stream) wrong(err error, place string) error {
	switch {
	case s.source.failed != nil:
		return fmt.Errorf("read the volume's archive, %s: %w", place, s.source.failed)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return corrupt("it was cut short, %s", place)
	}
	return corrupt("it is not a tar archive, %s: %v", place, err)
}

// source remembers how reading ended.
type source struct {
	r      io.Reader
	ended  bool  // there is no more
	failed error // other than that
}

func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	switch {
	case err == io.EOF && n == 0:
		s.ended = true
	case err != nil && err != io.EOF:
		s.failed = err
	}
	return n, err
}

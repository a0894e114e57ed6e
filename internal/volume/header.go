package volume

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// blockSize is tar's: everything in a stream begins at a multiple of it.
const blockSize = 512

// maxRecords is how many bytes of extended header archive/tar's reader takes.
const maxRecords = 1 << 20

// The records that are written of an entry.
const (
	recordPath     = "path"
	recordLink     = "linkpath"
	recordSize     = "size"
	recordUID      = "uid"
	recordGID      = "gid"
	recordTime     = "mtime"
	recordXattr    = "SCHILY.xattr."
	recordMajor    = "GNU.sparse.major"
	recordMinor    = "GNU.sparse.minor"
	recordName     = "GNU.sparse.name"
	recordRealSize = "GNU.sparse.realsize"
)

// errTooManyAttributes: an entry that no reader would take is not written.
var errTooManyAttributes = errors.New("it has more than 1 MiB of extended attributes")

// header is the description of an entry as it is written. archive/tar cannot write
// one of a file with holes, so all of them are written here.
type header struct {
	name  string
	kind  byte   // a type flag of archive/tar
	link  string // of a hard link the other entry's name, of a symbolic one its target
	mode  uint32
	uid   uint32
	gid   uint32
	size  int64
	mtime timestamp
	major uint32
	minor uint32
	// attributes are kept as the kernel lists them.
	attributes []attribute
	// data are the regions of a file that are not holes, nil for a file without holes.
	data []region
}

// maxAttribute is how large a value or a list of names is in Linux.
const maxAttribute = 64 << 10

// attribute is an extended attribute.
type attribute struct{ name, value string }

// timestamp is seconds since 1970, which may be negative, and nanoseconds after that.
type timestamp struct{ sec, nsec int64 }

// appendTo appends the entry's blocks up to its content, which for a file with holes
// begins with their map. It is an error of the entry if it cannot be described.
func (h *header) appendTo(b []byte) ([]byte, error) {
	stored := h.size
	var sparse []byte
	if h.data != nil {
		sparse = encodeMap(h.data)
		stored = int64(len(sparse)) + dataSize(h.data)
	}
	records, err := h.records(stored)
	if err != nil {
		return b, err
	}
	if len(records) > 0 {
		b = appendBlock(b, &header{name: "././@PaxHeader", kind: tar.TypeXHeader, mode: 0o644}, int64(len(records)))
		b = pad(append(b, records...))
	}
	b = appendBlock(b, h, stored)
	return append(b, sparse...), nil
}

// records is the extended header's content.
func (h *header) records(stored int64) ([]byte, error) {
	var r []byte
	if h.data != nil {
		r = appendRecord(r, recordMajor, "1")
		r = appendRecord(r, recordMinor, "0")
		r = appendRecord(r, recordName, h.name)
		r = appendRecord(r, recordRealSize, strconv.FormatInt(h.size, 10))
	} else if len(h.name) > nameField || !isASCII(h.name) {
		r = appendRecord(r, recordPath, h.name)
	}
	if len(h.link) > nameField || !isASCII(h.link) {
		r = appendRecord(r, recordLink, h.link)
	}
	if stored > maxOctal(sizeField) {
		r = appendRecord(r, recordSize, strconv.FormatInt(stored, 10))
	}
	for _, id := range []struct {
		name  string
		value uint32
	}{{recordUID, h.uid}, {recordGID, h.gid}} {
		if int64(id.value) > maxOctal(idField) {
			r = appendRecord(r, id.name, strconv.FormatUint(uint64(id.value), 10))
		}
	}
	if h.mtime.nsec != 0 || h.mtime.sec < 0 || h.mtime.sec > maxOctal(timeField) {
		r = appendRecord(r, recordTime, h.mtime.String())
	}
	return h.appendAttributes(r)
}

// appendAttributes appends the records of the extended attributes, and of the access
// lists among them.
func (h *header) appendAttributes(r []byte) ([]byte, error) {
	for _, a := range h.attributes {
		if len(r)+len(a.name)+len(a.value) > maxRecords-blockSize {
			return nil, errTooManyAttributes
		}
		if text, ok := aclRecord(a); ok {
			r = appendRecord(r, text.name, text.value)
		}
		r = appendRecord(r, recordXattr+escapeAttribute.Replace(a.name), a.value)
	}
	if len(r) > maxRecords {
		return nil, errTooManyAttributes
	}
	return r, nil
}

// A record's name ends at the first "=", so GNU tar writes one in an attribute's
// name as %3D, and a percent sign as %25.
var (
	escapeAttribute   = strings.NewReplacer("%", "%25", "=", "%3D")
	unescapeAttribute = strings.NewReplacer("%25", "%", "%3D", "=")
)

// appendRecord appends "<length> <name>=<value>\n", where the length counts itself.
func appendRecord(b []byte, name, value string) []byte {
	rest := len(name) + len(value) + len(" =\n")
	length := rest + digits(rest)
	if digits(length) > digits(rest) {
		length = rest + digits(length)
	}
	b = strconv.AppendInt(b, int64(length), 10)
	b = append(b, ' ')
	b = append(b, name...)
	b = append(b, '=')
	b = append(b, value...)
	return append(b, '\n')
}

func digits(n int) int { return len(strconv.Itoa(n)) }

// String is the time as PAX has it, a decimal number: half a second before 1970 is -0.5.
func (t timestamp) String() string {
	sec, nsec, sign := t.sec, t.nsec, ""
	if sec < 0 {
		sign = "-"
		sec = -sec
		if nsec != 0 {
			sec, nsec = sec-1, 1e9-nsec
		}
	}
	if nsec == 0 {
		return sign + strconv.FormatInt(sec, 10)
	}
	return strings.TrimRight(fmt.Sprintf("%s%d.%09d", sign, sec, nsec), "0")
}

// The widths of a header block's fields, in bytes. Numbers are octal and end with a zero byte.
const (
	nameField = 100
	idField   = 8
	sizeField = 12
	timeField = 12
)

func maxOctal(width int) int64 { return 1<<(3*(width-1)) - 1 }

// appendBlock appends the header block. What does not fit its field is in a record,
// and the field is cut or zero.
func appendBlock(b []byte, h *header, size int64) []byte {
	start := len(b)
	b = append(b, make([]byte, blockSize)...)
	block := b[start:]
	copy(block[0:nameField], h.name)
	octal(block[100:108], int64(h.mode))
	octal(block[108:116], int64(h.uid))
	octal(block[116:124], int64(h.gid))
	octal(block[124:136], size)
	octal(block[136:148], h.mtime.sec)
	copy(block[148:156], "        ") // the checksum counts itself as spaces
	block[156] = h.kind
	copy(block[157:257], h.link)
	copy(block[257:265], "ustar\x0000")
	octal(block[329:337], int64(h.major))
	octal(block[337:345], int64(h.minor))
	var sum int64
	for _, c := range block {
		sum += int64(c)
	}
	octal(block[148:155], sum)
	return b
}

func octal(field []byte, n int64) {
	if n < 0 || n > maxOctal(len(field)) {
		n = 0
	}
	for i := len(field) - 2; i >= 0; i-- {
		field[i] = byte('0' + n&7)
		n >>= 3
	}
	field[len(field)-1] = 0
}

// pad appends zeros to the end of a block.
func pad(b []byte) []byte {
	return append(b, zeros[:padding(int64(len(b)))]...)
}

// padding is how much is missing at the end of the last block.
func padding(size int64) int64 { return -size & (blockSize - 1) }

// zeros is as long as what a file system leaves out as a hole.
var zeros [4096]byte

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// isZero reports whether b, no longer than zeros, is nothing else.
func isZero(b []byte) bool { return bytes.Equal(b, zeros[:len(b)]) }

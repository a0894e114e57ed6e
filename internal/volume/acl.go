package volume

import (
	"encoding/binary"
	"strconv"
	"strings"
)

// The extended attributes that hold POSIX ACLs, and the records in which other
// programs have them, as text.
var aclRecords = map[string]string{
	attributeACL:        "SCHILY.acl.access",
	attributeDefaultACL: "SCHILY.acl.default",
}

const (
	attributeACL        = "system.posix_acl_access"
	attributeDefaultACL = "system.posix_acl_default"
)

// The kernel's form of an ACL: a version, and entries of a tag, permissions and an id.
const (
	aclVersion   = 2
	aclHeadSize  = 4
	aclEntrySize = 8
)

var aclTags = map[uint16]string{
	0x01: "user:", 0x02: "user", 0x04: "group:", 0x08: "group", 0x10: "mask:", 0x20: "other:",
}

// aclRecord is the record with an ACL as text; GNU tar's --acls takes nothing else.
// ok is false for another attribute, and for an ACL of a form that is not known,
// which is kept as an attribute alone.
func aclRecord(a attribute) (record attribute, ok bool) {
	name, ok := aclRecords[a.name]
	if !ok || len(a.value) < aclHeadSize || (len(a.value)-aclHeadSize)%aclEntrySize != 0 {
		return attribute{}, false
	}
	value := []byte(a.value)
	if binary.LittleEndian.Uint32(value) != aclVersion {
		return attribute{}, false
	}
	var text strings.Builder
	for entry := value[aclHeadSize:]; len(entry) > 0; entry = entry[aclEntrySize:] {
		tag := binary.LittleEndian.Uint16(entry)
		who, ok := aclTags[tag]
		if !ok {
			return attribute{}, false
		}
		if !strings.HasSuffix(who, ":") {
			who += ":" + strconv.FormatUint(uint64(binary.LittleEndian.Uint32(entry[4:])), 10)
		}
		text.WriteString(who + ":" + aclPermissions(binary.LittleEndian.Uint16(entry[2:])) + "\n")
	}
	return attribute{name: name, value: text.String()}, true
}

func aclPermissions(bits uint16) string {
	p := []byte("---")
	for i, c := range []byte("rwx") {
		if bits&(4>>i) != 0 {
			p[i] = c
		}
	}
	return string(p)
}

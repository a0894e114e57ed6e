package oci

import (
	"crypto/sha256"
	"encoding/base32"
)

// What the tags of a repository begin with that are of objects, and of uploads that are under
// way. Other tags are not this package's: those that points can be pulled by, and whatever
// else lies in the repository.
const (
	objectTag = "holdfast."
	uploadTag = "holdfast-upload."
)

const (
	maxTag    = 128
	hashBytes = 20
	hashChars = hashBytes * 8 / 5
)

var tagHash = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// tagOf returns the tag of what has a key: a readable beginning of the key, and a hash, as a tag
// has fewer characters than a key, and is shorter. The id tells apart what has one key.
func tagOf(kind, key, id string) string {
	sum := sha256.Sum256([]byte(key + "\x00" + id))
	return tagPrefix(kind, key) + "-" + tagHash.EncodeToString(sum[:hashBytes])
}

// tagPrefix returns how the tags of all keys begin that begin with prefix. Others may too.
func tagPrefix(kind, prefix string) string {
	readable := []byte(prefix[:min(len(prefix), maxTag-len(kind)-1-hashChars)])
	for i, c := range readable {
		switch {
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', c == '-', c == '_':
		case c == '/', c == '.':
			readable[i] = '.'
		default:
			readable[i] = '_'
		}
	}
	return kind + string(readable)
}

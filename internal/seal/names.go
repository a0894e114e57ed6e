package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
)

// Names are the names that what points share has in a sink, where it is encrypted: who has
// the key finds again what was stored under a name, and nobody else learns of what. With the
// key alone nothing is opened that a point holds. Without it only that is lost that
// something is stored once.
//
// Other recipients make other names, so that nothing is found again that is not encrypted for
// them. A nil one gives no names of its own, and opens nothing.
//
// Of a volume that lies in pieces, who has the key learns of which pieces, by their digests, so
// that those are found again: see [Seal.EncryptNamed].
type Names struct {
	names, cut       []byte // keys
	entries, recipes cipher.AEAD
}

// minNameKey is how many bytes a key has at least.
const minNameKey = 32

// maxNameKey bounds what is read of a key's file, in bytes.
const maxNameKey = 4 << 10

// MakeNameKey says how the key is made.
const MakeNameKey = "(umask 077; head -c 32 /dev/urandom | base64 > FILE)"

// readNames reads a key for names.
func readNames(file string, recipients []string) (*Names, error) {
	key, err := readNameKey(file)
	if err != nil {
		return nil, fmt.Errorf("nameKeyFile %s: %w", file, err)
	}
	derive := func(purpose string) ([]byte, error) {
		return hkdf.Key(sha256.New, key, nil, strings.Join(append([]string{purpose}, recipients...), "\n"), sha256.Size)
	}
	gcm := func(purpose string) (cipher.AEAD, error) {
		key, err := derive(purpose)
		if err != nil {
			return nil, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		return cipher.NewGCMWithRandomNonce(block)
	}
	n := &Names{}
	var errs [4]error
	n.names, errs[0] = derive("holdfast names v1")
	n.cut, errs[1] = derive("holdfast pieces v1")
	n.entries, errs[2] = gcm("holdfast entries v1")
	n.recipes, errs[3] = gcm("holdfast recipes v1")
	return n, errors.Join(errs[:]...)
}

// readNameKey reads a key. Its errors do not repeat what it has read.
func readNameKey(file string) ([]byte, error) {
	info, err := os.Stat(file)
	switch {
	case err != nil:
		return nil, err
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("its mode is %04o, and others may use it: chmod 600 it", info.Mode().Perm())
	case info.Size() > maxNameKey:
		return nil, fmt.Errorf("it has more than %d bytes", maxNameKey)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(raw)))
	if err != nil || len(key) < minNameKey {
		return nil, fmt.Errorf("it does not hold at least %d random bytes in base64, as %s makes them", minNameKey, MakeNameKey)
	}
	return key, nil
}

// Same reports whether both give the same names.
func (n *Names) Same(other *Names) bool {
	return n != nil && other != nil && subtle.ConstantTimeCompare(n.names, other.names) == 1
}

// Of returns the name of something with this digest: 64 hex digits. That of a nil one is the
// digest itself.
func (n *Names) Of(digest string) string {
	if n == nil {
		return digest
	}
	mac := hmac.New(sha256.New, n.names)
	mac.Write([]byte(digest))
	return hex.EncodeToString(mac.Sum(nil))
}

// Cut is the key by which volumes are cut into pieces, so that the lengths of these do not say
// what is in them; that of a nil one is nil.
func (n *Names) Cut() []byte {
	if n == nil {
		return nil
	}
	return n.cut
}

// Seal encrypts what is stored at a key of the sink.
func (n *Names) Seal(key string, plain []byte) []byte {
	return n.entries.Seal(nil, nil, plain, []byte(key))
}

// errSealed says no more, as there is no more to know.
var errSealed = errors.New("it was not sealed with this key, or has changed")

// Open returns what Seal has encrypted.
func (n *Names) Open(key string, sealed []byte) ([]byte, error) {
	if n == nil {
		return nil, errSealed
	}
	plain, err := n.entries.Open(nil, nil, sealed, []byte(key))
	if err != nil {
		return nil, errSealed
	}
	return plain, nil
}

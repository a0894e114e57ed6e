// Package sign signs what says what a point is, and proves such signatures: they are those
// of SSH, which 'ssh-keygen -Y verify -n holdfast' reads too.
package sign

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/hiddeco/sshsig"
	"golang.org/x/crypto/ssh"

	"holdfast.io/holdfast/internal/sink"
)

// Namespace is what signatures are made for, so that those made for something else do not
// count.
const Namespace = "holdfast"

// MaxSignature bounds a signature, in bytes; a larger one is none of ours.
const MaxSignature = 16 << 10

var (
	// ErrForged: a signature is not of what it should be of, or is none.
	ErrForged = errors.New("the signature does not fit")
	// ErrUntrusted: nobody has signed who is trusted.
	ErrUntrusted = errors.New("it is not signed by one of the sink's signers")
)

// Signer signs with the key of one worker. It may be used by several goroutines.
type Signer struct{ key ssh.Signer }

// NewKey makes a key, and returns its private half as OpenSSH keeps it.
func NewKey(comment string) (string, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", fmt.Errorf("make a key to sign with: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return "", fmt.Errorf("encode the key to sign with: %w", err)
	}
	return string(pem.EncodeToMemory(block)), nil
}

// NewSigner returns the Signer of a private key. Its error does not repeat that.
func NewSigner(private string) (*Signer, error) {
	key, err := ssh.ParsePrivateKey([]byte(private))
	if err != nil {
		return nil, errors.New("the key to sign with is damaged")
	}
	return &Signer{key}, nil
}

// Public returns the public half, as a line of OpenSSH without a comment.
func (s *Signer) Public() string { return line(s.key.PublicKey()) }

// Sign signs a message.
func (s *Signer) Sign(message []byte) ([]byte, error) {
	signature, err := sshsig.Sign(bytes.NewReader(message), s.key, sshsig.HashSHA512, Namespace)
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return sshsig.Armor(signature), nil
}

func line(key ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
}

// Fingerprint returns the short form of a public key, SHA256:…, or what is wrong with it.
func Fingerprint(public string) (string, error) {
	key, err := parsePublic(public)
	if err != nil {
		return "", err
	}
	return ssh.FingerprintSHA256(key), nil
}

func parsePublic(public string) (ssh.PublicKey, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(public))
	if err != nil || len(bytes.TrimSpace(rest)) > 0 {
		return nil, errors.New("it is no public key of SSH, which is one line that begins with ssh-ed25519; " +
			"'holdfast keys' prints that of a worker")
	}
	return key, nil
}

// Trust is whose signatures count in a sink. A nil one trusts nobody, and needs no
// signature.
type Trust struct {
	own, signers [][]byte // in their wire form
}

// NewTrust returns the trust in keys of this worker, and in the signers that the sink is
// configured with. With any of these, what nobody of both has signed is refused.
func NewTrust(own, signers []string) (*Trust, error) {
	t := &Trust{}
	for _, public := range own {
		key, err := parsePublic(public)
		if err != nil {
			return nil, fmt.Errorf("a key of this worker: %w", err)
		}
		t.own = append(t.own, key.Marshal())
	}
	for i, public := range signers {
		key, err := parsePublic(public)
		if err != nil {
			return nil, fmt.Errorf("signer %d: %w", i+1, err)
		}
		t.signers = append(t.signers, key.Marshal())
	}
	return t, nil
}

// Verdict is what a signature proves.
type Verdict struct {
	// Signer is the fingerprint of who has signed; empty for nobody.
	Signer string
	// Trusted is set if it is this worker, or one of the sink's signers.
	Trusted bool
	// Asked is set if somebody could have been trusted.
	Asked bool
}

// Doubt says why the signature proves nothing; empty if it does, or if nobody is trusted.
func (v Verdict) Doubt() string {
	switch {
	case !v.Asked || v.Trusted:
		return ""
	case v.Signer == "":
		return "it is not signed"
	}
	return v.Signer + " has signed it, which is neither this worker's key nor one of the sink's signers"
}

// Check proves a signature of a message; a nil one is none. It reports ErrForged, and
// ErrUntrusted where the sink has signers and none of them has signed.
func (t *Trust) Check(message, signature []byte) (v Verdict, err error) {
	v.Asked = t != nil
	if signature != nil {
		key, err := check(message, signature)
		if err != nil {
			return Verdict{}, err
		}
		v.Signer, v.Trusted = ssh.FingerprintSHA256(key), t.trusts(key.Marshal())
	}
	switch {
	case t == nil || len(t.signers) == 0 || v.Trusted:
		return v, nil
	case v.Signer == "":
		return v, fmt.Errorf("%w: it is not signed at all", ErrUntrusted)
	}
	return v, fmt.Errorf("%w: %s has signed it", ErrUntrusted, v.Signer)
}

func (t *Trust) trusts(key []byte) bool {
	is := func(other []byte) bool { return bytes.Equal(key, other) }
	return t != nil && (slices.ContainsFunc(t.own, is) || slices.ContainsFunc(t.signers, is))
}

// check proves a signature, and returns whose it is.
func check(message, signature []byte) (ssh.PublicKey, error) {
	s, err := sshsig.Unarmor(signature)
	if err != nil {
		return nil, fmt.Errorf("%w: it is none of SSH", ErrForged)
	}
	if err := sshsig.Verify(bytes.NewReader(message), s, s.PublicKey, s.HashAlgorithm, Namespace); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForged, err)
	}
	return s.PublicKey, nil
}

// Signed is a sink whose points are signed.
type Signed struct {
	sink.Sink
	// Signer signs what this process stores; nil for one that only reads.
	Signer *Signer
	Trust  *Trust
}

// Unwrap returns the sink that is signed, for [sink.As].
func (s *Signed) Unwrap() sink.Sink { return s.Sink }

// Of returns how the points of a sink are signed: by nobody, if that is not said.
func Of(s sink.Reader) Signed {
	if signed, ok := sink.As[*Signed](s); ok {
		return *signed
	}
	return Signed{}
}

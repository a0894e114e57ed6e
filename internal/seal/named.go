package seal

import (
	"errors"
	"fmt"
	"io"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/codec"
)

// EncryptNamed is Encrypt for who has the key of the sink's [Names], too, who opens it by
// [Names.Decrypt]. The age tool opens it as anything else.
func (s *Seal) EncryptNamed(w io.Writer) (io.WriteCloser, error) { return encrypt(w, s.named) }

// Decrypt returns what was encrypted by EncryptNamed. It reports ErrNoIdentity if that was with
// another key, and else errors as [Seal.Decrypt] does.
func (n *Names) Decrypt(r io.Reader) (io.Reader, error) {
	if n == nil {
		return nil, ErrNoIdentity
	}
	plain, err := age.Decrypt(r, named{n, nil})
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return nil, fmt.Errorf("%w: it was encrypted with another nameKeyFile", ErrNoIdentity)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: its header: %w", codec.ErrDamaged, err)
	}
	return plain, nil
}

// withNames returns the recipients, and one that stands for the key of the names.
func (s *Seal) withNames() ([]age.Recipient, error) {
	if !s.Encrypts() {
		return nil, nil
	}
	one := named{s.names, nil}
	if r, ok := s.recipients[0].(age.RecipientWithLabels); ok {
		_, labels, err := r.WrapWithLabels(make([]byte, fileKeySize))
		if err != nil {
			return nil, err
		}
		one.labels = labels
	}
	return append(append([]age.Recipient(nil), s.recipients...), one), nil
}

const (
	// namedStanza is the type of what holds a file's key encrypted with that of the names.
	namedStanza = "holdfast-names"
	// fileKeySize is how many bytes the key of a file of age has.
	fileKeySize = 16
)

// named is the key of the names, as a recipient and an identity of age. AES-256 is as good as any
// recipient, so it takes the labels of the others, which say what goes together.
type named struct {
	names  *Names
	labels []string
}

var (
	_ age.RecipientWithLabels = named{}
	_ age.Identity            = named{}
)

// Wrap implements [age.Recipient].
func (n named) Wrap(fileKey []byte) ([]*age.Stanza, error) {
	return []*age.Stanza{{Type: namedStanza, Body: n.names.recipes.Seal(nil, nil, fileKey, []byte(namedStanza))}}, nil
}

// WrapWithLabels implements [age.RecipientWithLabels].
func (n named) WrapWithLabels(fileKey []byte) (stanzas []*age.Stanza, labels []string, err error) {
	stanzas, err = n.Wrap(fileKey)
	return stanzas, append([]string(nil), n.labels...), err
}

// Unwrap implements [age.Identity].
func (n named) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for _, s := range stanzas {
		if s.Type != namedStanza {
			continue
		}
		if key, err := n.names.recipes.Open(nil, nil, s.Body, []byte(namedStanza)); err == nil && len(key) == fileKeySize {
			return key, nil
		}
	}
	return nil, age.ErrIncorrectIdentity
}

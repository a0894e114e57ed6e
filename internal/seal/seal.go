// Package seal encrypts what is stored in a sink, and opens it again, in the format of the
// age tool. Who encrypts needs only recipients, which are no secret; who reads needs an
// identity.
//
// Nobody who can write a file is proven by this: whoever knows a recipient can make one.
// That a point is ours is what the signature of its manifest says.
package seal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"filippo.io/age/agessh"

	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/sink"
)

// Format is the name of the format, as manifests have it.
const Format = "age"

// Suffix is what the names of encrypted artifacts end with.
const Suffix = ".age"

// ErrNoIdentity: something is encrypted, and nothing here opens it.
var ErrNoIdentity = errors.New("it is encrypted, and no identity here opens it")

// Options say for whom is encrypted, and where the identities are that open it again.
type Options struct {
	// Recipients are public keys of age or of SSH. Without any nothing is encrypted.
	Recipients []string
	// IdentityFile is a file as age-keygen makes it, or of a private SSH key without a
	// passphrase. IdentityCommand prints such a file. Neither is read before something has
	// to be opened.
	IdentityFile    string
	IdentityCommand []string
	// NameKeyFile is a file with the key of [Names], for a sink with recipients in which
	// points share what is encrypted. Only its owner may read it.
	NameKeyFile string
}

// Seal encrypts and opens. It may be used by several goroutines. A nil one encrypts nothing,
// and opens nothing.
type Seal struct {
	options    Options
	recipients []age.Recipient
	names      *Names
	named      []age.Recipient // and who has the key of the names
}

// New checks the options: recipients must be usable, and usable together. It returns nil if
// nothing is set, and reads no identity. It reads the key for names.
func New(o Options) (*Seal, error) {
	if o.IdentityFile != "" && len(o.IdentityCommand) > 0 {
		return nil, errors.New("identityFile and identityCommand are both set; leave one out")
	}
	if len(o.Recipients) == 0 && o.IdentityFile == "" && len(o.IdentityCommand) == 0 {
		return nil, nil
	}
	s := &Seal{options: o}
	for i, text := range o.Recipients {
		r, err := parseRecipient(text)
		if err != nil {
			return nil, fmt.Errorf("recipient %d: %w", i+1, err)
		}
		s.recipients = append(s.recipients, r)
	}
	if s.Encrypts() { // some kinds do not go together
		if _, err := s.Encrypt(io.Discard); err != nil {
			return nil, err
		}
	}
	if o.NameKeyFile != "" {
		names, err := readNames(o.NameKeyFile, s.recipientTexts())
		if err != nil {
			return nil, err
		}
		s.names = names
		if s.named, err = s.withNames(); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Names returns the names of what points share in the sink; nil if they are in clear.
func (s *Seal) Names() *Names {
	if s == nil {
		return nil
	}
	return s.names
}

// parseRecipient does not repeat what it was given: somebody may have written a private key
// there.
func parseRecipient(text string) (age.Recipient, error) {
	text = strings.TrimSpace(text)
	switch {
	case strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-"):
		return nil, errors.New("it is an identity, which is a secret; a recipient begins with age1 and is printed by 'age-keygen -y'")
	case strings.HasPrefix(text, "ssh-"):
		r, err := agessh.ParseRecipient(text)
		if err != nil {
			return nil, errors.New("it is no public key of SSH that age can use: that is one of ssh-ed25519 or ssh-rsa")
		}
		return r, nil
	}
	all, err := age.ParseRecipients(strings.NewReader(text))
	if err != nil || len(all) != 1 {
		return nil, errors.New("it is no recipient of age, which begins with age1, and no public key of SSH")
	}
	return all[0], nil
}

// Encrypts reports whether what is stored is encrypted.
func (s *Seal) Encrypts() bool { return s != nil && len(s.recipients) > 0 }

// SameRecipients reports whether both encrypt for the same recipients, by their
// configuration.
func (s *Seal) SameRecipients(other *Seal) bool {
	return s.Encrypts() && other.Encrypts() && slices.Equal(s.recipientTexts(), other.recipientTexts())
}

func (s *Seal) recipientTexts() []string {
	var texts []string
	for _, text := range s.options.Recipients {
		fields := strings.Fields(text)
		texts = append(texts, strings.Join(fields[:min(len(fields), 2)], " ")) // a key of SSH may have a comment
	}
	slices.Sort(texts)
	return slices.Compact(texts)
}

// Encrypt returns a writer that encrypts to w. What it has written is whole only after
// Close, which does not close w.
func (s *Seal) Encrypt(w io.Writer) (io.WriteCloser, error) { return encrypt(w, s.recipients) }

func encrypt(w io.Writer, to []age.Recipient) (io.WriteCloser, error) {
	out, err := age.Encrypt(w, to...)
	if err != nil {
		return nil, fmt.Errorf("encrypt for the sink's recipients: %w", err)
	}
	return out, nil
}

// Decrypt returns what was encrypted to r. It reports ErrNoIdentity if no identity is there,
// or none fits, and codec.ErrDamaged if the beginning of r is not as it was written. Errors
// of reading mean that r was changed, or are those of r.
func (s *Seal) Decrypt(ctx context.Context, r io.Reader) (io.Reader, error) {
	identities, err := s.identities(ctx)
	if err != nil {
		return nil, err
	}
	plain, err := age.Decrypt(r, identities...)
	if err != nil {
		return nil, s.notOpened(err)
	}
	return plain, nil
}

// notOpened is the error of something encrypted whose beginning was read.
func (s *Seal) notOpened(err error) error {
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return fmt.Errorf("%w: it was encrypted for others than %s", ErrNoIdentity, s.source())
	}
	return fmt.Errorf("%w: its header: %w", codec.ErrDamaged, err)
}

// Opener returns what opens something that is stored in this format: nil if it is in clear.
func (s *Seal) Opener(ctx context.Context, format string) func(r io.Reader) (io.Reader, error) {
	switch format {
	case "":
		return nil
	case Format:
		return func(r io.Reader) (io.Reader, error) { return s.Decrypt(ctx, r) }
	}
	return func(io.Reader) (io.Reader, error) {
		return nil, fmt.Errorf("%w: its format %q is not known to this version", ErrNoIdentity, format)
	}
}

// Most returns how many bytes something of at most n has when it is encrypted; 0 if n is 0,
// which stands for what is not known.
func (s *Seal) Most(n int64) int64 {
	if !s.Encrypts() || n == 0 {
		return n
	}
	const header, chunk = 1 << 10, 64 << 10 // bytes; of a recipient, and of what has 16 bytes more
	return n + int64(len(s.recipients)+1)*header + (n/chunk+1)*16
}

// source says where identities come from.
func (s *Seal) source() string {
	if s.options.IdentityFile != "" {
		return s.options.IdentityFile
	}
	return "what the identity command prints"
}

// commandTime bounds the command that prints identities.
const commandTime = time.Minute

// identities reads the identities anew each time: this process is no place to keep them.
func (s *Seal) identities(ctx context.Context) ([]age.Identity, error) {
	var raw []byte
	var err error
	switch {
	case s == nil || s.options.IdentityFile == "" && len(s.options.IdentityCommand) == 0:
		return nil, fmt.Errorf("%w: set identityFile or identityCommand of the sink, or HOLDFAST_IDENTITY_FILE", ErrNoIdentity)
	case s.options.IdentityFile != "":
		raw, err = os.ReadFile(s.options.IdentityFile)
	default:
		ctx, cancel := context.WithTimeout(ctx, commandTime)
		defer cancel()
		command := s.options.IdentityCommand
		raw, err = exec.CommandContext(ctx, command[0], command[1:]...).Output()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: read the identities: %w", ErrNoIdentity, err)
	}
	identities, err := parseIdentities(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %s holds no identity that can be read: that is a line that begins with AGE-SECRET-KEY-, "+
			"or a private SSH key without a passphrase", ErrNoIdentity, s.source())
	}
	return identities, nil
}

// parseIdentities reads a file of identities. Its error may hold what it has read.
func parseIdentities(raw []byte) ([]age.Identity, error) {
	if bytes.HasPrefix(raw, []byte("-----BEGIN")) {
		one, err := agessh.ParseIdentity(raw)
		return []age.Identity{one}, err
	}
	return age.ParseIdentities(bytes.NewReader(raw))
}

// Sealed is a sink with its own seal.
type Sealed struct {
	sink.Sink
	Seal *Seal
}

// Unwrap returns the sink that it seals, for [sink.As].
func (s *Sealed) Unwrap() sink.Sink { return s.Sink }

// Filters implements [sink.Filter].
func (s *Sealed) Filters() bool { return s.Seal.Encrypts() }

// Of returns the seal of a sink, which is nil if it has none.
func Of(s sink.Reader) *Seal {
	if sealed, ok := sink.As[*Sealed](s); ok {
		return sealed.Seal
	}
	return nil
}

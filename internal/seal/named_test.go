package seal_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/codec"
	"holdfast.io/holdfast/internal/seal"
)

// What is encrypted for the key of the names, too, is opened by that key, by the identity, and by
// the age tool, and by nobody else; whatever kind the recipients are of.
func TestEncryptNamed(t *testing.T) {
	file, native := key(t)
	hybrid, err := age.GenerateHybridIdentity()
	must(t, err)
	_, ssh := sshKey(t, "ed25519")
	_, rsa := sshKey(t, "rsa")
	for _, to := range [][]string{{native}, {native, ssh, rsa}, {hybrid.Recipient().String()}} {
		s := newSeal(t, seal.Options{Recipients: to, NameKeyFile: nameKey(t, keyOf("1"), 0o600), IdentityFile: file})
		var out bytes.Buffer
		w, err := s.EncryptNamed(&out)
		must(t, err)
		_, err = w.Write(bytes.Repeat([]byte("plain "), 20_000))
		must(t, err)
		must(t, w.Close())
		open := func(decrypt func(io.Reader) (io.Reader, error)) (int, error) {
			plain, err := decrypt(bytes.NewReader(out.Bytes()))
			if err != nil {
				return 0, err
			}
			all, err := io.ReadAll(plain)
			return len(all), err
		}
		if n, err := open(s.Names().Decrypt); n != 120_000 || err != nil {
			t.Errorf("%v: the key opens %d bytes, %v", to, n, err)
		}
		others := newSeal(t, seal.Options{Recipients: to, NameKeyFile: nameKey(t, keyOf("2"), 0o600)}).Names()
		for _, n := range []*seal.Names{others, nil} {
			if _, err := open(n.Decrypt); !errors.Is(err, seal.ErrNoIdentity) {
				t.Errorf("%v: another key opens it: %v", to, err)
			}
		}
		if to[0] != native {
			continue
		}
		if n, err := open(func(r io.Reader) (io.Reader, error) { return s.Decrypt(t.Context(), r) }); n != 120_000 || err != nil {
			t.Errorf("%v: the identity opens %d bytes, %v", to, n, err)
		}
		tool := exec.Command("age", "-d", "-i", file)
		tool.Stdin = bytes.NewReader(out.Bytes())
		if plain, err := tool.Output(); len(plain) != 120_000 || err != nil {
			t.Errorf("%v: age opens %d bytes, %v", to, len(plain), err)
		}
	}
}

func TestNamesDecryptOfWhatIsDamaged(t *testing.T) {
	_, to := key(t)
	s := newSeal(t, seal.Options{Recipients: []string{to}, NameKeyFile: nameKey(t, keyOf("1"), 0o600)})
	if _, err := s.Names().Decrypt(strings.NewReader("age-encryption.org/v1\n-> X25519")); !errors.Is(err, codec.ErrDamaged) {
		t.Error(err)
	}
	if _, err := s.Names().Decrypt(bytes.NewReader(encrypt(t, s, []byte("plain")))); !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("what is for the recipients alone: %v", err)
	}
}

// Any range of what is encrypted is read, by few requests, none of which is of more than what is
// needed.
func TestParts(t *testing.T) {
	file, to := key(t)
	s := newSeal(t, seal.Options{Recipients: []string{to}, IdentityFile: file})
	parts, err := s.Parts(t.Context())
	must(t, err)
	for _, size := range []int{1, 64 << 10, 64<<10 + 1, 1 << 20} {
		plain := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		stored := encrypt(t, s, plain)
		asked, requests := int64(0), 0
		one, err := parts.Of(int64(len(stored)), func(offset, length int64) (io.ReadCloser, error) {
			asked += length
			requests++
			return io.NopCloser(bytes.NewReader(stored[offset : offset+length])), nil
		})
		must(t, err)
		for _, c := range [][2]int{{0, size}, {size / 2, size - size/2}, {size / 3, min(100, size-size/3)}, {size - 1, 1}} {
			asked, requests = 0, 0
			r := one.Range(int64(c[0]), int64(c[1]))
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, plain[c[0]:c[0]+c[1]]) {
				t.Errorf("%v of %d: %d bytes came, %v", c, size, len(got), err)
			}
			must(t, r.Close())
			if requests > 2 || asked > int64(c[1])+3*(64<<10) {
				t.Errorf("%v of %d: %d bytes were asked for in %d requests", c, size, asked, requests)
			}
		}
	}
}

// What breaks is told from what is damaged.
func TestPartsThatBreak(t *testing.T) {
	file, to := key(t)
	s := newSeal(t, seal.Options{Recipients: []string{to}, IdentityFile: file})
	parts, err := s.Parts(t.Context())
	must(t, err)
	stored := encrypt(t, s, make([]byte, 300<<10))
	broken, breaks := errors.New("broken"), false
	open := func(offset, length int64) (io.ReadCloser, error) {
		if breaks {
			return nil, broken
		}
		return io.NopCloser(bytes.NewReader(stored[offset : offset+length])), nil
	}
	one, err := parts.Of(int64(len(stored)), open)
	must(t, err)
	stored[100<<10] ^= 1
	if _, err := io.ReadAll(one.Range(0, 300<<10)); !errors.Is(err, codec.ErrDamaged) {
		t.Errorf("a bit has flipped: %v", err)
	}
	breaks = true
	if _, err := io.ReadAll(one.Range(0, 10)); !errors.Is(err, broken) || errors.Is(err, codec.ErrDamaged) {
		t.Errorf("it breaks: %v", err)
	}
	if _, err := parts.Of(int64(len(stored)), open); !errors.Is(err, broken) {
		t.Errorf("it breaks at its beginning: %v", err)
	}
	breaks = false
	stored[30] ^= 1
	if _, err := parts.Of(int64(len(stored)), open); !errors.Is(err, codec.ErrDamaged) && !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("its header has changed: %v", err)
	}
	if _, err := (*seal.Seal)(nil).Parts(context.Background()); !errors.Is(err, seal.ErrNoIdentity) {
		t.Errorf("without an identity: %v", err)
	}
}

package seal_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"holdfast.io/holdfast/internal/seal"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// key makes an identity, and returns the file that it is in, and its recipient.
func key(t *testing.T) (file, recipient string) {
	t.Helper()
	identity, err := age.GenerateX25519Identity()
	must(t, err)
	file = filepath.Join(t.TempDir(), "identity")
	must(t, os.WriteFile(file, []byte("# made by a test\n"+identity.String()+"\n"), 0o600))
	return file, identity.Recipient().String()
}

// sshKey makes an SSH key, and returns the files of both halves.
func sshKey(t *testing.T, kind string) (private, public string) {
	t.Helper()
	private = filepath.Join(t.TempDir(), "id")
	out, err := exec.Command("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", private).CombinedOutput() //nolint:gosec // a test's own
	if err != nil {
		t.Fatalf("ssh-keygen: %v\n%s", err, out)
	}
	raw, err := os.ReadFile(private + ".pub")
	must(t, err)
	return private, string(raw)
}

func newSeal(t *testing.T, o seal.Options) *seal.Seal {
	t.Helper()
	s, err := seal.New(o)
	must(t, err)
	return s
}

func encrypt(t *testing.T, s *seal.Seal, plain []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w, err := s.Encrypt(&out)
	must(t, err)
	_, err = w.Write(plain)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

func decrypt(t *testing.T, s *seal.Seal, sealed []byte) ([]byte, error) {
	t.Helper()
	r, err := s.Decrypt(t.Context(), bytes.NewReader(sealed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

func TestThereAndBack(t *testing.T) {
	file, recipient := key(t)
	ed25519, ed25519Public := sshKey(t, "ed25519")
	rsa, rsaPublic := sshKey(t, "rsa")
	plain := bytes.Repeat([]byte("secret"), 50_000)
	sealed := encrypt(t, newSeal(t, seal.Options{Recipients: []string{recipient, ed25519Public, rsaPublic}}), plain)
	if bytes.Contains(sealed, []byte("secret")) {
		t.Error("it is not encrypted")
	}
	for name, o := range map[string]seal.Options{
		"file": {IdentityFile: file}, "command": {IdentityCommand: []string{"cat", file}},
		"ssh-ed25519": {IdentityFile: ed25519}, "ssh-rsa": {IdentityFile: rsa},
	} {
		got, err := decrypt(t, newSeal(t, o), sealed)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%s: %d bytes came back, %v", name, len(got), err)
		}
	}
}

func TestWithoutAnIdentity(t *testing.T) {
	_, recipient := key(t)
	other, _ := key(t)
	sealed := encrypt(t, newSeal(t, seal.Options{Recipients: []string{recipient}}), []byte("x"))
	empty := filepath.Join(t.TempDir(), "empty")
	must(t, os.WriteFile(empty, []byte("AGE-SECRET-KEY-1TOPSECRET\n"), 0o600))
	for name, o := range map[string]seal.Options{
		"none": {}, "recipients alone": {Recipients: []string{recipient}}, "another one": {IdentityFile: other},
		"no file": {IdentityFile: "/none"}, "not one": {IdentityFile: empty}, "a command that fails": {IdentityCommand: []string{"false"}},
	} {
		_, err := decrypt(t, newSeal(t, o), sealed)
		if !errors.Is(err, seal.ErrNoIdentity) || strings.Contains(err.Error(), "TOPSECRET") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every change, and every cut, is noticed.
func TestChangesAreNoticed(t *testing.T) {
	file, recipient := key(t)
	s := newSeal(t, seal.Options{Recipients: []string{recipient}, IdentityFile: file})
	sealed := encrypt(t, s, []byte("what is stored"))
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		if got, err := decrypt(t, s, changed); err == nil {
			t.Fatalf("byte %d is another, and %q is read", i, got)
		}
		if got, err := decrypt(t, s, sealed[:i]); err == nil {
			t.Fatalf("cut after %d bytes %q is read", i, got)
		}
	}
}

func TestOptionsAreRefused(t *testing.T) {
	file, recipient := key(t)
	secret, err := os.ReadFile(file)
	must(t, err)
	hybrid, err := age.GenerateHybridIdentity()
	must(t, err)
	for name, c := range map[string]struct {
		o    seal.Options
		says string
	}{
		"a misspelt recipient":    {seal.Options{Recipients: []string{recipient, recipient[:20]}}, "recipient 2"},
		"an identity":             {seal.Options{Recipients: []string{strings.Split(string(secret), "\n")[1]}}, "which is a secret"},
		"an empty one":            {seal.Options{Recipients: []string{""}}, "recipient 1"},
		"a key of another kind":   {seal.Options{Recipients: []string{"ssh-dss AAAAB3NzaC1kc3M="}}, "ssh-ed25519 or ssh-rsa"},
		"kinds that do not go":    {seal.Options{Recipients: []string{recipient, hybrid.Recipient().String()}}, "encrypt for"},
		"two places for one":      {seal.Options{IdentityFile: file, IdentityCommand: []string{"x"}}, "leave one out"},
		"several in one, by line": {seal.Options{Recipients: []string{recipient + "\n" + recipient}}, "recipient 1"},
	} {
		s, err := seal.New(c.o)
		if err == nil || s != nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "AGE-SECRET-KEY-1") {
			t.Errorf("%s: %v, want it to say %q", name, err, c.says)
		}
	}
}

func TestOf(t *testing.T) {
	_, recipient := key(t)
	s := newSeal(t, seal.Options{Recipients: []string{recipient}})
	plain := sinktest.NewMemory()
	if got := seal.Of(plain); got.Encrypts() {
		t.Error("a plain sink has a seal")
	}
	sealed := &seal.Sealed{Sink: plain, Seal: s}
	if got := seal.Of(sealed); got != s || !got.Encrypts() {
		t.Error("a sealed sink has not its seal")
	}
	if got, ok := sink.As[*sinktest.Memory](sealed); !ok || got != plain {
		t.Error("what is sealed is not found")
	}
}

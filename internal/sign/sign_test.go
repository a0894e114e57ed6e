package sign_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"holdfast.io/holdfast/internal/sign"
	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sinktest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newSigner(t testing.TB) *sign.Signer {
	t.Helper()
	private, err := sign.NewKey("web01")
	must(t, err)
	s, err := sign.NewSigner(private)
	must(t, err)
	return s
}

func signed(t testing.TB, s *sign.Signer, message string) []byte {
	t.Helper()
	signature, err := s.Sign([]byte(message))
	must(t, err)
	return signature
}

func trust(t testing.TB, own, signers []string) *sign.Trust {
	t.Helper()
	all, err := sign.NewTrust(own, signers)
	must(t, err)
	return all
}

func TestWhoIsTrusted(t *testing.T) {
	own, other, stranger := newSigner(t), newSigner(t), newSigner(t)
	for name, c := range map[string]struct {
		trust     *sign.Trust
		signature []byte
		trusted   bool
		err       error
	}{
		"own":                           {trust(t, []string{own.Public()}, nil), signed(t, own, "m"), true, nil},
		"a stranger's, with no signers": {trust(t, []string{own.Public()}, nil), signed(t, stranger, "m"), false, nil},
		"none, with no signers":         {trust(t, []string{own.Public()}, nil), nil, false, nil},
		"nobody is trusted":             {nil, signed(t, own, "m"), false, nil},
		"a signer's":                    {trust(t, nil, []string{other.Public() + " a comment"}), signed(t, other, "m"), true, nil},
		"own, beside signers":           {trust(t, []string{own.Public()}, []string{other.Public()}), signed(t, own, "m"), true, nil},
		"a stranger's":                  {trust(t, nil, []string{other.Public()}), signed(t, stranger, "m"), false, sign.ErrUntrusted},
		"none":                          {trust(t, nil, []string{other.Public()}), nil, false, sign.ErrUntrusted},
		"of something else":             {trust(t, nil, []string{other.Public()}), signed(t, other, "n"), false, sign.ErrForged},
		"something else":                {nil, []byte("no signature"), false, sign.ErrForged},
		"empty":                         {nil, []byte{}, false, sign.ErrForged},
	} {
		v, err := c.trust.Check([]byte("m"), c.signature)
		if v.Trusted != c.trusted || !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %+v, %v", name, v, err)
		}
	}
}

// Any byte that is another is noticed, in the message and in the signature.
func TestChangesAreNoticed(t *testing.T) {
	s := newSigner(t)
	message := []byte(`{"id":"20260302T141503Z-441e7818"}`)
	signature := signed(t, s, string(message))
	all := trust(t, nil, []string{s.Public()})
	for i := range message {
		changed := bytes.Clone(message)
		changed[i] ^= 1
		if _, err := all.Check(changed, signature); err == nil {
			t.Errorf("byte %d of the message is another", i)
		}
	}
	for i := range signature {
		changed := bytes.Clone(signature)
		changed[i] ^= 1
		if v, err := all.Check(message, changed); err == nil && !v.Trusted {
			t.Errorf("byte %d of the signature is another", i)
		}
	}
}

// OpenSSH reads what we sign, and we read what it signs.
func TestOpenSSH(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, content string) { must(t, os.WriteFile(path(name), []byte(content), 0o600)) }
	run := func(in string, args ...string) {
		t.Helper()
		cmd := exec.Command("ssh-keygen", args...) //nolint:gosec // a test's own
		cmd.Stdin = strings.NewReader(in)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("ssh-keygen %q: %v\n%s", args, err, out)
		}
	}
	private, err := sign.NewKey("web01")
	must(t, err)
	s, err := sign.NewSigner(private)
	must(t, err)
	write("key", private)
	write("allowed", "web01 "+s.Public()+"\n")
	write("m.sig", string(signed(t, s, "message")))
	run("message", "-Y", "verify", "-n", sign.Namespace, "-f", path("allowed"), "-I", "web01", "-s", path("m.sig"))
	write("theirs", "their message")
	run("", "-q", "-Y", "sign", "-n", sign.Namespace, "-f", path("key"), path("theirs"))
	theirs, err := os.ReadFile(path("theirs.sig"))
	must(t, err)
	if v, err := trust(t, []string{s.Public()}, nil).Check([]byte("their message"), theirs); err != nil || !v.Trusted {
		t.Errorf("what OpenSSH has signed: %+v, %v", v, err)
	}
	run("", "-q", "-Y", "sign", "-n", "file", "-f", path("key"), path("theirs"))
}

func TestKeysThatMakeNoSense(t *testing.T) {
	if _, err := sign.NewSigner("-----BEGIN OPENSSH PRIVATE KEY-----\ntopsecret"); err == nil || strings.Contains(err.Error(), "topsecret") {
		t.Errorf("a damaged private key: %v", err)
	}
	for _, public := range []string{"", "ssh-ed25519", "ssh-ed25519 AAAA", "topsecret", newSigner(t).Public() + "\n" + newSigner(t).Public()} {
		if _, err := sign.NewTrust(nil, []string{public}); err == nil || !strings.Contains(err.Error(), "signer 1") {
			t.Errorf("the public key %q: %v", public, err)
		}
		if _, err := sign.Fingerprint(public); err == nil {
			t.Errorf("the public key %q has a fingerprint", public)
		}
	}
}

func TestOf(t *testing.T) {
	s := newSigner(t)
	plain := sinktest.NewMemory()
	if got := sign.Of(plain); got.Signer != nil || got.Trust != nil {
		t.Error("a sink that is not signed has a signer")
	}
	wrapped := &sign.Signed{Sink: plain, Signer: s}
	if got := sign.Of(wrapped); got.Signer != s {
		t.Error("a sink that is signed has no signer")
	}
	if got, ok := sink.As[*sinktest.Memory](wrapped); !ok || got != plain {
		t.Error("what is signed is not found")
	}
}

// FuzzCheck: whatever lies in a sink, a check never panics, and trusts nothing that nobody
// has signed.
func FuzzCheck(f *testing.F) {
	s := newSigner(f)
	good := signed(f, s, "message")
	f.Add([]byte("message"), good)
	f.Add([]byte("other"), good)
	f.Add([]byte(""), []byte("-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"))
	all := trust(f, []string{s.Public()}, nil)
	f.Fuzz(func(t *testing.T, message, signature []byte) {
		v, err := all.Check(message, signature)
		if (v.Trusted && err == nil) && string(message) != "message" {
			t.Errorf("%q is trusted", message)
		}
	})
}

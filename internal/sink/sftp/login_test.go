package sftp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"holdfast.io/holdfast/internal/sink"
	"holdfast.io/holdfast/internal/sink/sftp"
	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
)

func file(t *testing.T, content string) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(at, []byte(content), 0o600))
	return at
}

// reach tries a store.
func reach(t *testing.T, o sftp.Options) error {
	t.Helper()
	return sftp.New(o).Put(t.Context(), "x", nil)
}

func TestKeys(t *testing.T) {
	t.Setenv("SSH_AUTH_SOCK", "")
	server := sftptest.Start(t, sftptest.Options{})
	locked := filepath.Join(t.TempDir(), "locked")
	authorized := filepath.Join(filepath.Dir(server.Dir), "authorized_keys")
	own, err := os.ReadFile(authorized)
	must(t, err)
	must(t, os.WriteFile(authorized, append(own, ssh.MarshalAuthorizedKey(sftptest.NewKey(t, locked, "open sesame"))...), 0o600))
	strange := filepath.Join(t.TempDir(), "strange")
	sftptest.NewKey(t, strange, "")
	for name, c := range map[string]struct {
		key, passphrase string
		says            []string // none if it works
	}{
		"the user's":                        {key: server.Key},
		"with a passphrase":                 {key: locked, passphrase: "open sesame\n"},
		"without its passphrase":            {key: locked, says: []string{locked, "keyPassphraseFile"}},
		"with a wrong passphrase":           {key: locked, passphrase: "close sesame", says: []string{locked, "passphrase"}},
		"one that the server does not know": {key: strange, says: []string{"does not let " + server.User + " log in", "authorized_keys"}},
		"none":                              {says: []string{"nothing to log in with", "SSH_AUTH_SOCK"}},
		"a file that is not there":          {key: strange + "er", says: []string{strange + "er", "no such file"}},
		"a file that is no key":             {key: server.KnownHosts, says: []string{server.KnownHosts, "no private key"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := optionsOf(server)
			o.Key = c.key
			if c.passphrase != "" {
				o.KeyPassphraseFile = file(t, c.passphrase)
			}
			began := time.Now()
			err := reach(t, o)
			if c.says == nil {
				must(t, err)
				return
			}
			wants(t, "put", err, sink.ErrUnavailable, append(c.says, o.URL())...)
			if strings.Contains(err.Error(), "sesame") {
				t.Errorf("the error shows the passphrase: %v", err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it was tried again, for %s", took)
			}
		})
	}
}

func TestAgent(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	raw, err := os.ReadFile(server.Key)
	must(t, err)
	private, err := ssh.ParseRawPrivateKey(raw)
	must(t, err)
	ring := agent.NewKeyring()
	must(t, ring.Add(agent.AddedKey{PrivateKey: private}))
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = agent.ServeAgent(ring, conn)
				conn.Close()
			}()
		}
	}()
	o := optionsOf(server)
	o.Key = ""
	t.Setenv("SSH_AUTH_SOCK", socket)
	must(t, reach(t, o))
	t.Setenv("SSH_AUTH_SOCK", socket+"x")
	wants(t, "no agent", reach(t, o), sink.ErrUnavailable, "SSH_AUTH_SOCK")
}

func TestHostKeys(t *testing.T) {
	server := sftptest.Start(t, sftptest.Options{})
	address := server.Addr()
	other := sftptest.NewKey(t, filepath.Join(t.TempDir(), "other"), "")
	line := func(key ssh.PublicKey, addresses ...string) string { return knownhosts.Line(addresses, key) + "\n" }
	for name, c := range map[string]struct {
		known string
		says  []string // none if it works
	}{
		"known":           {known: "# a comment\n\n" + line(server.Public, address)},
		"by its hash":     {known: knownhosts.HashHostname(knownhosts.Normalize(address)) + " " + string(ssh.MarshalAuthorizedKey(server.Public))},
		"changed":         {line(other, address), []string{"line 1", "another one", ssh.FingerprintSHA256(server.Public), ssh.FingerprintSHA256(other)}},
		"unknown":         {line(other, "example.com:22"), []string{"knows none", "fingerprint", ssh.FingerprintSHA256(server.Public)}},
		"of another port": {line(server.Public, "127.0.0.1:22"), []string{"knows none"}},
		"revoked":         {line(server.Public, address) + "@revoked " + line(server.Public, address), []string{"revoked"}},
		"no keys":         {"nonsense\n", []string{":1:"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := optionsOf(server)
			o.KnownHosts = file(t, c.known)
			err := reach(t, o)
			if c.says == nil {
				must(t, err)
				return
			}
			wants(t, "put", err, sink.ErrUnavailable, append(c.says, o.KnownHosts, o.URL())...)
		})
	}
	o := optionsOf(server)
	o.KnownHosts = ""
	t.Setenv("HOME", t.TempDir())
	wants(t, "without a file", reach(t, o), sink.ErrUnavailable, os.Getenv("HOME")+"/.ssh/known_hosts", "ssh-keyscan")
	must(t, os.Mkdir(filepath.Join(os.Getenv("HOME"), ".ssh"), 0o700))
	must(t, os.WriteFile(filepath.Join(os.Getenv("HOME"), ".ssh", "known_hosts"), []byte(line(server.Public, address)), 0o600))
	must(t, reach(t, o))
}

// A server has keys of several kinds, and shows one. It must be asked for one that is known.
func TestAServerWithSeveralKeys(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	block, err := ssh.MarshalPrivateKey(private, "")
	must(t, err)
	second := file(t, string(pem.EncodeToMemory(block)))
	public, err := ssh.NewPublicKey(&private.PublicKey)
	must(t, err)
	server := sftptest.Start(t, sftptest.Options{Config: []string{"HostKey " + second}})
	for _, key := range []ssh.PublicKey{server.Public, public} {
		o := optionsOf(server)
		o.KnownHosts = file(t, knownhosts.Line([]string{server.Addr()}, key)+"\n")
		if err := reach(t, o); err != nil {
			t.Errorf("with the %s key known: %v", key.Type(), err)
		}
	}
}

func TestHostCertificates(t *testing.T) {
	authority := filepath.Join(t.TempDir(), "ca")
	trusted := sftptest.NewKey(t, authority, "")
	signer := signerIn(t, authority)
	certificate := filepath.Join(t.TempDir(), "host_key-cert.pub")
	server := sftptest.Start(t, sftptest.Options{})
	for name, c := range map[string]struct {
		principal string
		says      string
	}{
		"for the host": {principal: "127.0.0.1"}, "for another host": {"example.com", "principal"},
	} {
		cert := &ssh.Certificate{Key: server.Public, CertType: ssh.HostCert, ValidPrincipals: []string{c.principal}, ValidBefore: ssh.CertTimeInfinity}
		must(t, cert.SignCert(rand.Reader, signer))
		must(t, os.WriteFile(certificate, ssh.MarshalAuthorizedKey(cert), 0o600))
		server.Configure("HostCertificate " + certificate)
		o := optionsOf(server)
		o.KnownHosts = file(t, "@cert-authority "+knownhosts.Line([]string{server.Addr()}, trusted)+"\n")
		err := reach(t, o)
		if c.says == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if c.says != "" {
			wants(t, name, err, sink.ErrUnavailable, c.says, o.KnownHosts)
		}
	}
}

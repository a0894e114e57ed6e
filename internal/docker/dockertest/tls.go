package dockertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// tlsPort is in the Engine's own network, so that it is free.
const tlsPort = "2376"

// TLSHost is the Engine's address over TCP, in its own network; see [Engine.Command].
func (e *Engine) TLSHost() string { return "tcp://127.0.0.1:" + tlsPort }

// Certificates is a folder as DOCKER_CERT_PATH takes it, for [Engine.TLSHost].
func (e *Engine) Certificates() string { return filepath.Join(e.dir, "client") }

// Trust has the Engine know by which certificates that of a registry, host:port, is signed.
func (e *Engine) Trust(t testing.TB, registry, ca string) {
	t.Helper()
	dir := filepath.Join(e.dir, "etc/certs.d", registry)
	raw, err := os.ReadFile(ca)
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "ca.crt"), raw, 0o600)
	}
	if err != nil {
		t.Fatalf("have the private Engine trust a registry: %v", err)
	}
}

// listenTLS returns what has dockerd listen on TCP, to clients with a certificate of ours.
func (e *Engine) listenTLS() []string {
	server := filepath.Join(e.dir, "server")
	return []string{"--host", e.TLSHost(), "--tlsverify", "--tlscacert", filepath.Join(server, "ca.pem"),
		"--tlscert", filepath.Join(server, "cert.pem"), "--tlskey", filepath.Join(server, "key.pem")}
}

// authority signs certificates.
type authority struct {
	template *x509.Certificate
	key      *ecdsa.PrivateKey
	raw      []byte
}

// writeCertificates makes the certificates of the daemon and its clients.
func (e *Engine) writeCertificates() error {
	a, err := newAuthority(e.name)
	if err != nil {
		return err
	}
	return errors.Join(
		a.issue(filepath.Join(e.dir, "server"), x509.ExtKeyUsageServerAuth),
		a.issue(e.Certificates(), x509.ExtKeyUsageClientAuth))
}

func newAuthority(name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	a := &authority{key: key, template: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageCertSign, IsCA: true, BasicConstraintsValid: true,
	}}
	a.raw, err = x509.CreateCertificate(rand.Reader, a.template, a.template, key.Public(), key)
	return a, err
}

// issue writes a certificate of a new key into a new folder, with what is needed to check
// the other side's.
func (a *authority) issue(dir string, usage x509.ExtKeyUsage) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	raw, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: filepath.Base(dir)}, NotBefore: a.template.NotBefore,
		NotAfter: a.template.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}, a.template, key.Public(), a.key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for name, block := range map[string]pem.Block{
		"ca.pem": {Type: "CERTIFICATE", Bytes: a.raw}, "cert.pem": {Type: "CERTIFICATE", Bytes: raw},
		"key.pem": {Type: "PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(&block), 0o600); err != nil {
			return fmt.Errorf("write a certificate: %w", err)
		}
	}
	return nil
}

package sftp

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys decides whether a server is the one that is meant, by a file of known hosts.
type hostKeys struct {
	file       string
	known      ssh.HostKeyCallback
	algorithms []string // those of the keys that are known; all if none is
	err        error    // why the server was refused
}

// hostKeys reads the file.
func (s *Store) hostKeys(address string) (*hostKeys, error) {
	file := s.o.KnownHosts
	if file == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			return nil, fmt.Errorf("find ~/.ssh/known_hosts: %w; configure knownHosts", err)
		}
		file = filepath.Join(home, ".ssh", "known_hosts")
	}
	known, err := knownhosts.New(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no %s, and a server that is not known is not trusted; "+
			"put the server's key there (ssh-keyscan shows it: compare the fingerprint), or configure knownHosts", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read the known hosts: %w", err)
	}
	h := &hostKeys{file: file, known: known}
	return h, h.choose(address)
}

// choose has the server show a key that the file can know: it has several.
func (h *hostKeys) choose(address string) error {
	none, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return err
	}
	var wants *knownhosts.KeyError
	if err := h.known(address, &net.TCPAddr{}, none); !errors.As(err, &wants) || len(wants.Want) == 0 {
		return nil
	}
	raw, err := os.ReadFile(h.file)
	if err != nil {
		return err
	}
	lines := strings.Split(string(raw), "\n")
	for _, want := range wants.Want {
		algorithms := algorithmsOf(want.Key.Type())
		if want.Line <= len(lines) && strings.HasPrefix(strings.TrimSpace(lines[want.Line-1]), "@cert-authority") {
			algorithms = certificates
		}
		for _, a := range algorithms {
			if !slices.Contains(h.algorithms, a) {
				h.algorithms = append(h.algorithms, a)
			}
		}
	}
	return nil
}

var certificates = []string{
	ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

func algorithmsOf(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}

// check is an [ssh.HostKeyCallback].
func (h *hostKeys) check(address string, remote net.Addr, key ssh.PublicKey) error {
	err := h.known(address, remote, key)
	if err == nil {
		return nil
	}
	shown := fmt.Sprintf("the server at %s shows the key %s %s", address, key.Type(), ssh.FingerprintSHA256(key))
	var wants *knownhosts.KeyError
	switch {
	case !errors.As(err, &wants):
		h.err = fmt.Errorf("%s, which %s does not allow: %w", shown, h.file, err)
	case len(wants.Want) == 0:
		h.err = fmt.Errorf("%s, and %s knows none for it; if the fingerprint is the server's, put its key there", shown, h.file)
	default:
		want := wants.Want[0]
		h.err = fmt.Errorf("%s, and %s has another one in line %d: %s %s; another server answers, or it was set up anew: "+
			"if the fingerprint is the server's, replace the line",
			shown, want.Filename, want.Line, want.Key.Type(), ssh.FingerprintSHA256(want.Key))
	}
	return h.err
}

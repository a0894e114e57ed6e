package sftp_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"holdfast.io/holdfast/internal/sink/object"
	"holdfast.io/holdfast/internal/sink/sftp"
	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
	"holdfast.io/holdfast/internal/sink/sinktest/flaky"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wants fails the test unless err is the wanted one, and says so much.
func wants(t *testing.T, what string, err, want error, says ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: the error is %v, want %v", what, err, want)
		return
	}
	for _, part := range says {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%s: the error is %q, want one that says %q", what, err, part)
		}
	}
}

// through returns a store on a server behind a proxy.
func through(t *testing.T, s *sftptest.Server) (*sftp.Store, *flaky.Proxy) {
	t.Helper()
	proxy := flaky.New(t, s.Addr())
	return sftp.New(at(t, s, proxy.Addr())), proxy
}

// at returns the options for a server that is reached at an address.
func at(t *testing.T, s *sftptest.Server, address string) sftp.Options {
	t.Helper()
	s.Trust(address, s.Public)
	_, port, err := net.SplitHostPort(address)
	must(t, err)
	o := optionsOf(s)
	o.Port, err = strconv.Atoi(port)
	must(t, err)
	return o
}

// pattern returns bytes of which no two parts are the same, the same each time.
func pattern(size int) []byte {
	b := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // it returns no error
	return b
}

func read(t *testing.T, s *sftp.Store, key string) []byte {
	t.Helper()
	r, _, err := s.Open(t.Context(), key, 0, -1, "")
	must(t, err)
	defer r.Close()
	content, err := io.ReadAll(r)
	must(t, err)
	return content
}

// holds fails the test unless the file has this content.
func holds(t *testing.T, file string, want []byte) {
	t.Helper()
	got, err := os.ReadFile(file)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, want %d, or others", file, len(got), len(want))
	}
}

func begin(t *testing.T, s *sftp.Store, key string) object.Upload {
	t.Helper()
	u, err := s.Begin(t.Context(), key, 0)
	must(t, err)
	return u
}

func write(t *testing.T, u object.Upload, p []byte) {
	t.Helper()
	_, err := u.Write(p)
	must(t, err)
}

// only fails the test unless the folder holds just these files.
func only(t *testing.T, dir string, keys ...string) {
	t.Helper()
	contents := place{dir: dir}.Contents(t)
	for _, key := range keys {
		if _, there := contents[key]; !there {
			t.Errorf("%s is not there", key)
		}
		delete(contents, key)
	}
	for name := range contents {
		t.Errorf("%s is left", name)
	}
}

// hiddenIn returns the one file in a folder that is no object yet.
func hiddenIn(t *testing.T, dir string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, sftp.HiddenPrefix+"*"))
	must(t, err)
	if len(found) != 1 {
		t.Fatalf("there are the hidden files %q, want one", found)
	}
	return found[0]
}

func makeDir(at string) error { return os.Mkdir(at, 0o700) }

func signerIn(t *testing.T, key string) ssh.Signer {
	t.Helper()
	raw, err := os.ReadFile(key)
	must(t, err)
	signer, err := ssh.ParsePrivateKey(raw)
	must(t, err)
	return signer
}

package main

import (
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	"holdfast.io/holdfast/internal/sink/sftp/sftptest"
)

// onScript lets what is made for tests end with a script.
type onScript struct {
	*testscript.TestScript
	cleanups
}

func (s onScript) Helper() {}

func (s onScript) TempDir() string {
	dir := s.MkAbs("server")
	s.Check(os.MkdirAll(dir, 0o700))
	return dir
}

// sshd runs an SSH server until the script ends, with a folder server/sink. SFTP_URL is that
// folder, SSH_KEY and SSH_KNOWN_HOSTS are files to log in with, and SSH_OTHER_KEY one with
// which nobody may.
func cmdSSHD(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: sshd")
	}
	t := onScript{ts, cleanups{ts}}
	server := sftptest.Start(t, sftptest.Options{})
	ts.Setenv("SFTP_URL", "sftp://"+server.User+"@127.0.0.1:"+strconv.Itoa(server.Port)+server.Dir)
	ts.Setenv("SSH_KEY", server.Key)
	ts.Setenv("SSH_KNOWN_HOSTS", server.KnownHosts)
	other := filepath.Join(t.TempDir(), "other")
	sftptest.NewKey(t, other, "")
	ts.Setenv("SSH_OTHER_KEY", other)
}

package bustest

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Pause has the server stand still, with its connections open, as on a machine
// that hangs, and returns when it does. Stop and Kill end it all the same.
func (p *Process) Pause() {
	p.t.Helper()
	pid := p.signal(syscall.SIGSTOP)
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			p.t.Fatalf("wait for nats-server to stand still: %v", err)
		}
	}
}

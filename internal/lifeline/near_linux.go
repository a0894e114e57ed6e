package lifeline

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// nearBound bounds how long a connection over one hop is waited for.
const nearBound = time.Second

// isNear reports whether an address can be reached over a single hop: from a
// network of the Engine that is one of its host's addresses, or a neighbour's. The
// host passes packets on to other machines only if they may take another hop.
func isNear(ctx context.Context, peer netip.AddrPort) bool {
	d := net.Dialer{Timeout: nearBound, Control: func(network, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) {
			if network == "tcp6" {
				err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_UNICAST_HOPS, 1)
			} else {
				err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_TTL, 1)
			}
		})
		if cerr != nil {
			return cerr
		}
		return err
	}}
	conn, err := d.DialContext(ctx, "tcp", peer.String())
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// peerProcess returns the process that answers at a socket file; 0 if that cannot
// be told, as for one outside of the worker's own process namespace.
func peerProcess(ctx context.Context, socket string) int {
	conn, err := (&net.Dialer{Timeout: nearBound}).DialContext(ctx, "unix", socket)
	if err != nil {
		return 0
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	err = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	if err != nil {
		return 0
	}
	return pid
}

package lifeline

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"holdfast.io/holdfast/internal/plan"
)

// listenerAt returns the process that listens at an address of the network that
// this process uses; nil if it cannot be told, as when this user may not see the
// processes of others. proc is where procfs is: /proc.
func listenerAt(proc string, at netip.AddrPort) *plan.Listener {
	sockets := listeningSockets(proc, at)
	if len(sockets) == 0 {
		return nil
	}
	holders, err := filepath.Glob(filepath.Join(proc, "[0-9]*/fd/*"))
	if err != nil {
		return nil
	}
	var found *plan.Listener
	for _, fd := range holders {
		if target, err := os.Readlink(fd); err != nil || !sockets[target] {
			continue
		}
		// Several processes may hold one socket, of which only one is in a container.
		if l := processOf(filepath.Dir(filepath.Dir(fd))); l != nil && (found == nil || l.Container != "") {
			found = l
		}
	}
	return found
}

// listeningSockets returns the sockets that listen at an address, as the links in
// /proc/PID/fd name them: "socket:[INODE]".
func listeningSockets(proc string, at netip.AddrPort) map[string]bool {
	sockets := map[string]bool{}
	for _, table := range []string{"tcp", "tcp6"} {
		f, err := os.Open(filepath.Join(proc, "self/net", table))
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			if address, inode, ok := listening(lines.Text()); ok && address.Port() == at.Port() &&
				(address.Addr().IsUnspecified() || address.Addr() == at.Addr()) {
				sockets["socket:["+inode+"]"] = true
			}
		}
		_ = f.Close()
	}
	return sockets
}

// processOf says in which container a process runs. dir is its folder of procfs.
func processOf(dir string) *plan.Listener {
	if _, err := os.Stat(filepath.Join(dir, "cgroup")); err != nil {
		return nil
	}
	return &plan.Listener{Container: fromFile(filepath.Join(dir, "cgroup"), ownFrom)}
}

// listening reads a line of /proc/net/tcp or tcp6, see proc(5); ok is false if it
// is not that of a socket that listens.
func listening(line string) (address netip.AddrPort, inode string, ok bool) {
	const listen = "0A"
	fields := strings.Fields(line)
	if len(fields) < 10 || fields[3] != listen {
		return netip.AddrPort{}, "", false
	}
	address, err := parseAddress(fields[1])
	return address, fields[9], err == nil
}

// parseAddress reads an address such as 0100007F:1092: words of 32 bits, each in
// the machine's order of bytes, which is little-endian wherever Holdfast is built
// for, and a port.
func parseAddress(text string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(text, ":")
	raw, err := hex.DecodeString(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for word := range slices.Chunk(raw, 4) {
		slices.Reverse(word)
	}
	addr, ok := netip.AddrFromSlice(raw)
	number, err := hex.DecodeString(port)
	if !ok || err != nil || len(number) != 2 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(number[0])<<8|uint16(number[1])), nil
}

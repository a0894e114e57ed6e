// Package porttest finds ports for the servers of tests.
package porttest

import (
	"errors"
	"math/rand/v2"
	"net"
)

// The range of ports lies below that from which the system takes the ports of outgoing
// connections: one of these could otherwise occupy the port of a server before it begins, or
// while it is stopped, the client that tries to reconnect to it included.
const (
	firstPort = 20_000
	ports     = 12_000
)

// Free returns an address of this machine's loopback that nobody listens on.
func Free() (*net.TCPAddr, error) {
	for range 100 {
		address := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: firstPort + rand.IntN(ports)}
		if l, err := net.ListenTCP("tcp4", address); err == nil {
			return address, l.Close()
		}
	}
	return nil, errors.New("no free port was found")
}

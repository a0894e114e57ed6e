// Package conn makes the connections of stores that speak HTTP: they break when they stand
// still, and trust the certificates that a sink's configuration names.
package conn

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// idleTime is for how long a connection may stand still. It is long enough for a service
// that puts thousands of parts together before it answers.
const idleTime = time.Minute

// Tune has the connections of t break when they stand still for so long, or for a minute if
// idle is 0, and has t trust the PEM certificates in the file ca beside the system's, unless
// ca is empty.
func Tune(t *http.Transport, ca string, idle time.Duration) error {
	t.DialContext = dialIdle(cmp.Or(idle, idleTime))
	if ca == "" {
		return nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return fmt.Errorf("read the certificates of the service: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s has no certificate in PEM form", ca)
	}
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.RootCAs = pool
	return nil
}

var dialer = net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}

// dialIdle dials connections that break when they stand still for so long.
func dialIdle(idle time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dialer.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		return idleConn{c, idle}, nil
	}
}

// idleConn is a connection that breaks when it stands still.
type idleConn struct {
	net.Conn
	idle time.Duration
}

func (c idleConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c idleConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

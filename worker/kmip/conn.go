package kmip

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"
)

// send sends one message. A connection that the server closed while it was idle is replaced once: what
// is asked here changes nothing.
func (c *Client) send(ctx context.Context, v Version, calls []call) ([]answer, error) {
	message := request(v, calls)
	for {
		conn, reused, err := c.connect(ctx)
		if err != nil {
			return nil, err
		}
		reply, err := exchange(ctx, conn, message, c.timeout)
		c.exchanged.Add(1)
		if err == nil {
			c.release(conn)
			return answers(reply, len(calls))
		}
		_ = conn.Close() // it is of no use any more
		if !reused || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (c *Client) connect(ctx context.Context) (conn net.Conn, reused bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		conn, c.idle = c.idle[n-1], c.idle[:n-1]
	}
	c.mu.Unlock()
	if conn != nil {
		return conn, true, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	conn, err = (&tls.Dialer{Config: c.tls}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return nil, false, fmt.Errorf("connecting to KMIP server %s: %w", c.address, err)
	}
	return conn, false, nil
}

func (c *Client) release(conn net.Conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) >= maxIdle {
		_ = conn.Close() // enough are kept
		return
	}
	c.idle = append(c.idle, conn)
}

// exchange writes a message and reads the answer, until ctx ends or the timeout has passed.
func exchange(ctx context.Context, conn net.Conn, message []byte, timeout time.Duration) ([]byte, error) {
	deadline := time.Now().Add(timeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, fmt.Errorf("talking to the KMIP server: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := conn.Write(message); err != nil {
		return nil, fmt.Errorf("writing to the KMIP server: %w", err)
	}
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(conn, header); err != nil {
		return nil, fmt.Errorf("reading from the KMIP server: %w", err)
	}
	size := int(binary.BigEndian.Uint32(header[4:]))
	if size > maxMessage {
		return nil, fmt.Errorf("the KMIP server's answer has %d bytes, at most %d are read", size, maxMessage)
	}
	reply := append(header, make([]byte, size)...)
	if _, err := io.ReadFull(conn, reply[headerSize:]); err != nil {
		return nil, fmt.Errorf("reading from the KMIP server: %w", err)
	}
	if !stop() { // ctx has ended: the connection's deadline is about to be changed
		return nil, ctx.Err()
	}
	return reply, nil
}

// cipherSuites are those of Go, and those that the profiles of KMIP demand of a server beside TLS 1.2: some servers
// know no others. Go takes a better one where there is one.
// https://docs.oasis-open.org/kmip/profiles/v1.4/os/kmip-profiles-v1.4-os.html
func cipherSuites() []uint16 {
	var ids []uint16
	for _, suite := range tls.CipherSuites() {
		ids = append(ids, suite.ID)
	}
	return append(ids, tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA256)
}

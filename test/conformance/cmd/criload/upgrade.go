package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"
)

const sessionTimeout = 30 * time.Second

// Names of the two protocols that a streaming URL can be upgraded to.
const (
	spdyProtocol      = "v4.channel.k8s.io"
	webSocketProtocol = "v5.channel.k8s.io"
)

// dial connects to the server of a streaming URL.
func dial(ctx context.Context, address string) (net.Conn, *url.URL, error) {
	target, err := url.Parse(address)
	if err != nil {
		return nil, nil, err
	}
	dialer := net.Dialer{Timeout: sessionTimeout}
	connection, err := dialer.DialContext(ctx, "tcp", target.Host)
	if err != nil {
		return nil, nil, err
	}
	return connection, target, connection.SetDeadline(time.Now().Add(sessionTimeout))
}

// upgradeRequest is the text of the request that begins a session.
func upgradeRequest(target *url.URL, isWebSocket bool) string {
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\n", http.MethodGet, target.RequestURI(), target.Host)
	if isWebSocket {
		key := make([]byte, 16)
		_, _ = rand.Read(key) // Never fails.
		return head + fmt.Sprintf("Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\nSec-WebSocket-Protocol: %s\r\n\r\n",
			base64.StdEncoding.EncodeToString(key), webSocketProtocol)
	}
	head = fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nContent-Length: 0\r\n", http.MethodPost, target.RequestURI(), target.Host)
	return head + fmt.Sprintf("Upgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: %s\r\n\r\n", spdyProtocol)
}

// upgraded is a connection after the server's 101, with what it may have sent behind it.
type upgraded struct {
	net.Conn
	reader *bufio.Reader
}

func (u *upgraded) Read(buffer []byte) (int, error) { return u.reader.Read(buffer) }

// upgrade sends the request and reads the answer.
func upgrade(connection net.Conn, target *url.URL, isWebSocket bool) (*upgraded, error) {
	if _, err := connection.Write([]byte(upgradeRequest(target, isWebSocket))); err != nil {
		return nil, err
	}
	reader := bufio.NewReader(connection)
	response, err := http.ReadResponse(reader, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("%s answered %s", target.Path, response.Status)
	}
	return &upgraded{connection, reader}, nil
}

// reset closes a connection as a client that vanished: the server gets a reset, and no orderly end.
func reset(connection net.Conn) {
	if tcp, ok := connection.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = connection.Close()
}

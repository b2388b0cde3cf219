package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/moby/spdystream"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// counted is how many sessions there were.
type counted struct {
	Sessions int64 `json:"sessions"`
}

// greeting is what every exec prints.
const greeting = "hello"

// execsCommand runs a small program again and again: by ExecSync, over SPDY and over WebSocket in turn, each to its end.
func execsCommand(flags *flag.FlagSet) func(context.Context, *Client) (any, error) {
	container := flags.String("container", "", "id")
	count := flags.Int("count", 100, "how many")
	parallel := flags.Int("parallel", 4, "at once")
	return func(ctx context.Context, client *Client) (any, error) {
		var sessions atomic.Int64
		argv := []string{"echo", "-n", greeting}
		err := inParallel(*count, *parallel, func(index int) error {
			output, err := execOnce(ctx, client, *container, argv, index)
			if err != nil {
				return fmt.Errorf("exec %d: %w", index, err)
			}
			if output != greeting {
				return fmt.Errorf("exec %d printed %q", index, output)
			}
			sessions.Add(1)
			return nil
		})
		return counted{Sessions: sessions.Load()}, err
	}
}

func execOnce(ctx context.Context, client *Client, container string, argv []string, index int) (string, error) {
	if index%2 == 0 {
		answer, err := client.Runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: container, Cmd: argv, Timeout: 30})
		return string(answer.GetStdout()), err
	}
	answer, err := client.Runtime.Exec(ctx, &cri.ExecRequest{ContainerId: container, Cmd: argv, Stdout: true, Stderr: true})
	if err != nil {
		return "", err
	}
	connection, target, err := dial(ctx, answer.Url)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	isWebSocket := index%4 == 3
	session, err := upgrade(connection, target, isWebSocket)
	if err != nil {
		return "", err
	}
	if isWebSocket {
		return readWebSocketOutput(session)
	}
	return readSpdyOutput(session)
}

// readWebSocketOutput collects standard output until the server says how the program ended.
func readWebSocketOutput(session *upgraded) (string, error) {
	var output strings.Builder
	for {
		opcode, payload, err := readFrame(session)
		if err != nil {
			return "", err
		}
		if opcode == opcodeClose {
			return "", errors.New("the session was closed without a status")
		}
		if len(payload) == 0 {
			continue
		}
		switch payload[0] {
		case stdoutChannel:
			output.Write(payload[1:])
		case errorChannel:
			if !strings.Contains(string(payload), `"Success"`) {
				return "", fmt.Errorf("the status is %s", payload[1:])
			}
			return output.String(), nil
		}
	}
}

// readSpdyOutput does the same with a stream for each channel.
func readSpdyOutput(session *upgraded) (string, error) {
	connection, err := spdystream.NewConnection(session, false)
	if err != nil {
		return "", err
	}
	defer connection.Close()
	go connection.Serve(spdystream.NoOpStreamHandler)
	status, err := openStream(connection, "error")
	if err != nil {
		return "", err
	}
	stdout, err := openStream(connection, "stdout")
	if err != nil {
		return "", err
	}
	if _, err := openStream(connection, "stderr"); err != nil {
		return "", err
	}
	output, err := io.ReadAll(stdout)
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(status)
	if err != nil {
		return "", err
	}
	if len(text) > 0 && !strings.Contains(string(text), `"Success"`) {
		return "", fmt.Errorf("the status is %s", text)
	}
	return string(output), nil
}

// openStream opens the stream of one channel and waits for the server's reply.
func openStream(connection *spdystream.Connection, channel string) (*spdystream.Stream, error) {
	stream, err := connection.CreateStream(http.Header{"Streamtype": []string{channel}}, nil, false)
	if err != nil {
		return nil, err
	}
	return stream, stream.WaitTimeout(sessionTimeout)
}

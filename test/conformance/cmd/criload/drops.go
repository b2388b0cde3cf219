package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/url"

	"github.com/moby/spdystream"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// dropped is how many sessions were broken off at which step.
type dropped struct {
	Steps map[string]int `json:"steps"`
}

// step goes so far into a session; the caller breaks the connection off after it.
type step struct {
	name string
	// run gets a connected socket; nil: the URL is never used.
	run func(connection net.Conn, target *url.URL) error
}

// steps are the places at which a client can vanish, for both protocols.
var steps = []step{
	{"url", nil},
	{"connect", func(net.Conn, *url.URL) error { return nil }},
	{"half a request", func(connection net.Conn, _ *url.URL) error {
		_, err := connection.Write([]byte("POST /att"))
		return err
	}},
	{"spdy request", sendRequest(false)},
	{"spdy upgraded", afterUpgrade(false, nil)},
	{"spdy half a frame", afterUpgrade(false, []byte{0x80, 0x03, 0x00})},
	{"spdy error stream", afterStreams("error")},
	{"spdy some streams", afterStreams("error", "stdin")},
	{"spdy all streams", afterStreams("error", "stdin", "stdout", "stderr")},
	{"web socket request", sendRequest(true)},
	{"web socket upgraded", afterUpgrade(true, nil)},
	{"web socket half a frame", afterUpgrade(true, []byte{finalBinary, maskedBit | 20, 0, 0})},
	{"web socket input", afterUpgrade(true, clientFrame(append([]byte{stdinChannel}, "echo again\n"...)))},
	{"web socket closed input", afterUpgrade(true, clientFrame([]byte{closeChannel, stdinChannel}))},
}

// dropsCommand attaches to a container that reads its standard input and vanishes, at each step in turn.
func dropsCommand(flags *flag.FlagSet) func(context.Context, *Client) (any, error) {
	container := flags.String("container", "", "id")
	count := flags.Int("count", 100, "how many")
	parallel := flags.Int("parallel", 4, "at once")
	return func(ctx context.Context, client *Client) (any, error) {
		err := inParallel(*count, *parallel, func(index int) error {
			step := steps[index%len(steps)]
			if err := drop(ctx, client, *container, step); err != nil {
				return fmt.Errorf("attach up to %q: %w", step.name, err)
			}
			return nil
		})
		result := dropped{Steps: map[string]int{}}
		for index := range *count {
			result.Steps[steps[index%len(steps)].name]++
		}
		return result, err
	}
}

func drop(ctx context.Context, client *Client, container string, step step) error {
	answer, err := client.Runtime.Attach(ctx, &cri.AttachRequest{ContainerId: container, Stdin: true, Stdout: true, Stderr: true})
	if err != nil || step.run == nil {
		return err
	}
	connection, target, err := dial(ctx, answer.Url)
	if err != nil {
		return err
	}
	defer reset(connection)
	return step.run(connection, target)
}

func sendRequest(isWebSocket bool) func(net.Conn, *url.URL) error {
	return func(connection net.Conn, target *url.URL) error {
		_, err := connection.Write([]byte(upgradeRequest(target, isWebSocket)))
		return err
	}
}

func afterUpgrade(isWebSocket bool, bytes []byte) func(net.Conn, *url.URL) error {
	return func(connection net.Conn, target *url.URL) error {
		session, err := upgrade(connection, target, isWebSocket)
		if err != nil {
			return err
		}
		_, err = session.Write(bytes)
		return err
	}
}

func afterStreams(channels ...string) func(net.Conn, *url.URL) error {
	return func(connection net.Conn, target *url.URL) error {
		session, err := upgrade(connection, target, false)
		if err != nil {
			return err
		}
		spdy, err := spdystream.NewConnection(session, false)
		if err != nil {
			return err
		}
		go spdy.Serve(spdystream.NoOpStreamHandler)
		for _, channel := range channels {
			if _, err := openStream(spdy, channel); err != nil {
				return err
			}
		}
		return nil
	}
}

// Command criload is a client of the Container Runtime Interface for the tests of this directory: it fills a runtime with pods,
// starts and stops many of them at once, measures answers, and breaks streaming sessions off at every step of their protocols.
// Each command prints one JSON object on standard output; an error ends it with 1.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sort"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxMessageBytes is what the kubelet's client allows as well.
const maxMessageBytes = 16 << 20

// Client is one connection to a runtime.
type Client struct {
	Runtime cri.RuntimeServiceClient
	Images  cri.ImageServiceClient
}

// command is what one word of the command line does: it declares its options and returns the action.
type command func(flags *flag.FlagSet) func(ctx context.Context, client *Client) (any, error)

var commands = map[string]command{
	"fill":    fillCommand,
	"latency": latencyCommand,
	"churn":   churnCommand,
	"clear":   clearCommand,
	"state":   stateCommand,
	"execs":   execsCommand,
	"drops":   dropsCommand,
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "criload: %v\n", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || commands[args[0]] == nil {
		names := make([]string, 0, len(commands))
		for name := range commands {
			names = append(names, name)
		}
		sort.Strings(names)
		return fmt.Errorf("expected a command, one of %v", names)
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	socket := flags.String("socket", "", "path of the runtime's socket")
	timeout := flags.Duration("timeout", 10*time.Minute, "for everything")
	action := commands[args[0]](flags)
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}

	ctx, cancel := context.WithTimeout(context.Background(), *timeout)
	defer cancel()
	connection, err := grpc.NewClient("unix://"+*socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// While a runtime is restarted, the default pauses between attempts grow to two minutes.
		grpc.WithConnectParams(quickReconnect),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessageBytes)))
	if err != nil {
		return err
	}
	defer connection.Close()
	result, err := action(ctx, &Client{cri.NewRuntimeServiceClient(connection), cri.NewImageServiceClient(connection)})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}

// untilTerminated is ctx, ended early by SIGTERM or SIGINT.
func untilTerminated(ctx context.Context) (context.Context, context.CancelFunc) {
	return signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
}

package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maxErrors is how many are told; one cause has many effects.
const maxErrors = 20

// churned is what the workers saw.
type churned struct {
	// Finished pods were started, stopped and removed again.
	Finished int `json:"finished"`
	// Repeated calls had lost their connection and were made again.
	Repeated int `json:"repeated"`
	// Errors of calls that had not lost their connection.
	Errors []string `json:"errors"`
}

// churn is the common state of the workers.
type churn struct {
	client *Client
	logs   string
	mutex  sync.Mutex
	result churned
}

// churnCommand lets workers start, stop and remove pods until it gets SIGTERM, while the runtime dies and comes back. A call that loses its
// connection is made again with the same words, as the kubelet does it; every other error is told. Pods that are under way at the end stay.
func churnCommand(flags *flag.FlagSet) func(context.Context, *Client) (any, error) {
	workers := flags.Int("workers", 100, "pods at once")
	logs := flags.String("logs", "", "directory of the logs")
	return func(ctx context.Context, client *Client) (any, error) {
		if err := ensureImage(ctx, client); err != nil {
			return nil, err
		}
		ctx, cancel := untilTerminated(ctx)
		defer cancel()
		state := &churn{client: client, logs: *logs, result: churned{Errors: []string{}}}
		var group sync.WaitGroup
		for worker := range *workers {
			group.Go(func() {
				for round := 0; ctx.Err() == nil; round++ {
					state.live(ctx, fmt.Sprintf("churn-%d-%d", worker, round))
				}
			})
		}
		group.Wait()
		return state.result, nil
	}
}

// live is the whole life of one pod.
func (c *churn) live(ctx context.Context, name string) {
	sandbox := podConfig(name, c.logs)
	var pod, container string
	steps := []struct {
		name string
		call func() error
	}{
		{"RunPodSandbox", func() error {
			answer, err := c.client.Runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
			pod = answer.GetPodSandboxId()
			return err
		}},
		{"CreateContainer", func() error {
			answer, err := c.client.Runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
				PodSandboxId: pod, Config: containerConfig("main", counting), SandboxConfig: sandbox})
			container = answer.GetContainerId()
			return err
		}},
		{"StartContainer", func() error { return c.start(ctx, container) }},
		{"ContainerStatus", func() error {
			answer, err := c.client.Runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container})
			if err == nil && answer.Status.State != cri.ContainerState_CONTAINER_RUNNING {
				err = fmt.Errorf("%s is %s after its start (%s)", container, answer.Status.State, answer.Status.Reason)
			}
			return err
		}},
		{"StopContainer", func() error {
			_, err := c.client.Runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: container, Timeout: rand.Int64N(2)})
			return err
		}},
		{"StopPodSandbox", func() error {
			_, err := c.client.Runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod})
			return err
		}},
		{"RemoveContainer", func() error {
			_, err := c.client.Runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: container})
			return err
		}},
		{"RemovePodSandbox", func() error {
			_, err := c.client.Runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod})
			return err
		}},
	}
	for _, step := range steps {
		if err := c.insist(ctx, step.call); err != nil {
			if ctx.Err() == nil {
				c.report(fmt.Sprintf("%s of %s: %v", step.name, name, err))
				// The same failure in a tight loop would only warm the machine.
				sleep(ctx, 100*time.Millisecond)
			}
			return
		}
	}
	c.mutex.Lock()
	c.result.Finished++
	// Whoever waits for some progress reads this.
	fmt.Fprintf(os.Stderr, "finished %d\n", c.result.Finished)
	c.mutex.Unlock()
}

// start starts a container whose start may have happened already, unanswered: the kubelet looks before it starts again.
func (c *churn) start(ctx context.Context, container string) error {
	answer, err := c.client.Runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container})
	if err != nil || answer.Status.State != cri.ContainerState_CONTAINER_CREATED {
		return err
	}
	_, err = c.client.Runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: container})
	return err
}

// insist repeats a call for as long as it loses its connection.
func (c *churn) insist(ctx context.Context, call func() error) error {
	for {
		err := call()
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return err
		}
		c.mutex.Lock()
		c.result.Repeated++
		c.mutex.Unlock()
		sleep(ctx, 100*time.Millisecond)
	}
}

func (c *churn) report(text string) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if len(c.result.Errors) < maxErrors {
		c.result.Errors = append(c.result.Errors, text)
	}
}

func sleep(ctx context.Context, duration time.Duration) {
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

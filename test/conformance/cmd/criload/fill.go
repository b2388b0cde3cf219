package main

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// filled says which containers of which pods run.
type filled struct {
	Pods       []string `json:"pods"`
	Containers []string `json:"containers"`
	Seconds    float64  `json:"seconds"`
}

// fillCommand starts pods with containers, several at a time.
func fillCommand(flags *flag.FlagSet) func(context.Context, *Client) (any, error) {
	pods := flags.Int("pods", 1, "how many")
	containers := flags.Int("containers", 1, "in each pod")
	parallel := flags.Int("parallel", 4, "pods that are started at once")
	prefix := flags.String("prefix", "fill", "of the pods' names")
	logs := flags.String("logs", "", "directory of the logs")
	counts := flags.Bool("count", false, "the containers print numbers; otherwise they sleep")
	stdin := flags.Bool("stdin", false, "the containers are shells that read their standard input")
	return func(ctx context.Context, client *Client) (any, error) {
		if err := ensureImage(ctx, client); err != nil {
			return nil, err
		}
		started := time.Now()
		result := filled{Pods: make([]string, *pods), Containers: make([]string, *pods**containers)}
		err := inParallel(*pods, *parallel, func(index int) error {
			sandbox := podConfig(fmt.Sprintf("%s-%d", *prefix, index), *logs)
			run, err := client.Runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: sandbox})
			if err != nil {
				return fmt.Errorf("RunPodSandbox %s: %w", sandbox.Metadata.Name, err)
			}
			result.Pods[index] = run.PodSandboxId
			for number := range *containers {
				argv := []string{"sleep", "infinity"}
				if *counts {
					argv = counting
				}
				if *stdin {
					argv = []string{"sh"}
				}
				config := containerConfig(fmt.Sprintf("c%d", number), argv)
				config.Stdin = *stdin
				id, err := startContainer(ctx, client, run.PodSandboxId, config, sandbox)
				if err != nil {
					return err
				}
				result.Containers[index**containers+number] = id
			}
			return nil
		})
		result.Seconds = time.Since(started).Seconds()
		return result, err
	}
}

// inParallel calls action with 0 to count-1, at most parallel at a time, and returns the first error after all have ended.
func inParallel(count, parallel int, action func(index int) error) error {
	var group sync.WaitGroup
	var once sync.Once
	var first error
	indexes := make(chan int)
	for range min(count, parallel) {
		group.Go(func() {
			for index := range indexes {
				if err := action(index); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	for index := range count {
		indexes <- index
	}
	close(indexes)
	group.Wait()
	return first
}

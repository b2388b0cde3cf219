package main

import (
	"context"
	"flag"
	"fmt"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// containerState is one container as ContainerStatus tells it.
type containerState struct {
	ID        string `json:"id"`
	Name      string `json:"name"`
	Pod       string `json:"pod"`
	State     string `json:"state"`
	StartedAt int64  `json:"startedAtNanos"`
	LogPath   string `json:"logPath"`
}

// podState is one sandbox as PodSandboxStatus tells it.
type podState struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	State string `json:"state"`
}

// state is everything that the runtime lists.
type state struct {
	Pods       []podState       `json:"pods"`
	Containers []containerState `json:"containers"`
}

// stateCommand asks for the status of everything that is listed. What is removed between the list and the question is left out: a call whose
// client went away goes on in the runtime.
func stateCommand(*flag.FlagSet) func(context.Context, *Client) (any, error) {
	return func(ctx context.Context, client *Client) (any, error) {
		result := state{Pods: []podState{}, Containers: []containerState{}}
		pods, err := client.Runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		if err != nil {
			return nil, fmt.Errorf("ListPodSandbox: %w", err)
		}
		for _, pod := range pods.Items {
			answer, err := client.Runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: pod.Id})
			if status.Code(err) == codes.NotFound {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("PodSandboxStatus %s: %w", pod.Id, err)
			}
			result.Pods = append(result.Pods, podState{
				ID: pod.Id, Name: answer.Status.Metadata.Name, State: answer.Status.State.String()})
		}
		containers, err := client.Runtime.ListContainers(ctx, &cri.ListContainersRequest{})
		if err != nil {
			return nil, fmt.Errorf("ListContainers: %w", err)
		}
		for _, container := range containers.Containers {
			answer, err := client.Runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: container.Id})
			if status.Code(err) == codes.NotFound {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("ContainerStatus %s: %w", container.Id, err)
			}
			result.Containers = append(result.Containers, containerState{
				ID: container.Id, Name: answer.Status.Metadata.Name, Pod: container.PodSandboxId,
				State: answer.Status.State.String(), StartedAt: answer.Status.StartedAt, LogPath: answer.Status.LogPath})
		}
		return result, nil
	}
}

// cleared says how much was removed.
type cleared struct {
	Pods int `json:"pods"`
}

// clearCommand stops and removes every pod whose name begins so, several at a time.
func clearCommand(flags *flag.FlagSet) func(context.Context, *Client) (any, error) {
	prefix := flags.String("prefix", "", "of the pods' names")
	parallel := flags.Int("parallel", 8, "at once")
	return func(ctx context.Context, client *Client) (any, error) {
		pods, err := client.Runtime.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
		if err != nil {
			return nil, fmt.Errorf("ListPodSandbox: %w", err)
		}
		chosen := make([]*cri.PodSandbox, 0, len(pods.Items))
		for _, pod := range pods.Items {
			if strings.HasPrefix(pod.Metadata.GetName(), *prefix) {
				chosen = append(chosen, pod)
			}
		}
		err = inParallel(len(chosen), *parallel, func(index int) error {
			id := chosen[index].Id
			if _, err := client.Runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
				return fmt.Errorf("StopPodSandbox %s: %w", id, err)
			}
			if _, err := client.Runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
				return fmt.Errorf("RemovePodSandbox %s: %w", id, err)
			}
			return nil
		})
		return cleared{Pods: len(chosen)}, err
	}
}

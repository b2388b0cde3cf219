package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const (
	image     = "registry.k8s.io/e2e-test-images/busybox:1.29-2"
	namespace = "load"
)

var quickReconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 10 * time.Millisecond, Multiplier: 1.2, Jitter: 0.2, MaxDelay: 200 * time.Millisecond},
	MinConnectTimeout: time.Second,
}

// podConfig is what a kubelet says of a pod with this name; logs is the directory of all logs, or empty.
func podConfig(name, logs string) *cri.PodSandboxConfig {
	config := &cri.PodSandboxConfig{
		Metadata: &cri.PodSandboxMetadata{Name: name, Uid: "uid-" + name, Namespace: namespace},
		Labels:   map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace},
		Linux:    &cri.LinuxPodSandboxConfig{},
	}
	if logs != "" {
		config.LogDirectory = filepath.Join(logs, namespace+"_"+name+"_uid-"+name)
	}
	return config
}

func containerConfig(name string, argv []string) *cri.ContainerConfig {
	return &cri.ContainerConfig{
		Metadata: &cri.ContainerMetadata{Name: name},
		Image:    &cri.ImageSpec{Image: image},
		Command:  argv,
		LogPath:  filepath.Join(name, "0.log"),
		Labels:   map[string]string{"io.kubernetes.container.name": name},
		Linux:    &cri.LinuxContainerConfig{SecurityContext: &cri.LinuxContainerSecurityContext{}},
	}
}

// counting prints a number a line, from 1, about fifty a second, so that a line that was lost is seen.
var counting = []string{"sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done"}

// ensureImage pulls the image unless it is there.
func ensureImage(ctx context.Context, client *Client) error {
	spec := &cri.ImageSpec{Image: image}
	status, err := client.Images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: spec})
	if err != nil {
		return fmt.Errorf("ImageStatus: %w", err)
	}
	if status.Image != nil {
		return nil
	}
	if _, err := client.Images.PullImage(ctx, &cri.PullImageRequest{Image: spec}); err != nil {
		return fmt.Errorf("PullImage: %w", err)
	}
	return nil
}

// startContainer creates and starts one container.
func startContainer(ctx context.Context, client *Client, pod string, config *cri.ContainerConfig, sandbox *cri.PodSandboxConfig) (string, error) {
	created, err := client.Runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: pod, Config: config, SandboxConfig: sandbox})
	if err != nil {
		return "", fmt.Errorf("CreateContainer %s: %w", config.Metadata.Name, err)
	}
	_, err = client.Runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: created.ContainerId})
	if err != nil {
		return "", fmt.Errorf("StartContainer %s: %w", config.Metadata.Name, err)
	}
	return created.ContainerId, nil
}

package main

import (
	"context"
	"flag"
	"sort"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// latency is how long answers of ListContainers took, in milliseconds.
type latency struct {
	Containers int     `json:"containers"`
	Median     float64 `json:"medianMs"`
	P99        float64 `json:"p99Ms"`
	Max        float64 `json:"maxMs"`
}

// latencyCommand asks for all containers again and again, one call after the other.
func latencyCommand(flags *flag.FlagSet) func(context.Context, *Client) (any, error) {
	calls := flags.Int("calls", 100, "how many are measured")
	warm := flags.Int("warm", 20, "calls before those")
	return func(ctx context.Context, client *Client) (any, error) {
		times := make([]float64, 0, *calls)
		result := latency{}
		for call := range *warm + *calls {
			started := time.Now()
			list, err := client.Runtime.ListContainers(ctx, &cri.ListContainersRequest{})
			if err != nil {
				return nil, err
			}
			if call >= *warm {
				times = append(times, float64(time.Since(started).Microseconds())/1000)
			}
			result.Containers = len(list.Containers)
		}
		sort.Float64s(times)
		result.Median = times[len(times)/2]
		result.P99 = times[len(times)*99/100]
		result.Max = times[len(times)-1]
		return result, nil
	}
}

//go:build tools

// Package conformance names what cmd/critest of cri-tools is made of, so that go.mod and go.sum know it: critest is the test binary of a package
// without other files, which cannot be named as a tool.
package conformance

import (
	_ "sigs.k8s.io/cri-tools/pkg/benchmark"
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)

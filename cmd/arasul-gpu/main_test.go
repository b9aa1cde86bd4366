package main

import (
	"testing"

	"github.com/arasul/arasul/pkg/api"
)

func TestSystemctlShowsWhatTheGPUsDo(t *testing.T) {
	for want, s := range map[string]api.GPUStatus{
		"no GPU: no Jetson":            {Backend: api.GPUNone, Reason: "no Jetson"},
		"watching 1 GPUs through nvml": {Backend: api.GPUNVML, GPUs: []api.GPU{{ID: "a"}}},
		"a: too hot":                   {Backend: api.GPUNVML, Problems: []api.GPUProblem{{GPU: "a", Message: "too hot"}}},
	} {
		if got := summary(s); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

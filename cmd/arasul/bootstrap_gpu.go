package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/arasul/arasul/pkg/bootstrap"
	"github.com/arasul/arasul/pkg/container"
	"github.com/arasul/arasul/pkg/podman"
	"github.com/arasul/arasul/pkg/systemd"
)

// gpuSteps are what containers need to see the GPU.
func gpuSteps(ctx context.Context, h bootstrap.Hardware, units *systemd.Hands) bootstrap.GPU {
	v := podmanVersion(ctx)
	return bootstrap.GPU{
		Present: h.NVIDIA, Modern: v == container.Version{} || v.AtLeast(4, 1), // one that is not there yet will be
		Toolkit: func() string {
			out, err := exec.CommandContext(ctx, "nvidia-ctk", "--version").Output()
			if err != nil {
				return ""
			}
			line, _, _ := strings.Cut(string(out), "\n")
			return cmp.Or(strings.TrimSpace(line), "installed")
		},
		Install: install,
		Spec: func() bool {
			_, err := os.Stat(cdiFile)
			return err == nil
		},
		Write: func(ctx context.Context) error { return units.Run(ctx, "arasul-cdi.service") },
		Test:  seesGPU,
	}
}

func podmanVersion(ctx context.Context) (v container.Version) {
	if text, err := (podman.Client{}).Version(ctx); err == nil {
		_, _ = fmt.Sscanf(text, "%d.%d", &v.Major, &v.Minor)
	}
	return v
}

// seesGPU runs a container with the same arguments as the engines and looks for
// the device: a discrete card's, or a Jetson's.
func seesGPU(ctx context.Context) (string, error) {
	chosen, err := container.Chosen(container.EnvPath)
	switch {
	case err != nil:
		return "", err
	case chosen["LLM"] == "":
		return "", errors.New("there is no image to look with")
	}
	v := podmanVersion(ctx)
	argv := []string{podman.Program, "run", "--rm", "--network=none", "--pull=never", "--cap-drop=all", "--security-opt=no-new-privileges"}
	argv = append(argv, container.GPUArgs(container.Host{Podman: v, GPU: gpuAccess(v)})...)
	argv = append(argv, "--entrypoint=/bin/sh", chosen["LLM"], "-c", "ls /dev/nvidia0 || ls /dev/nvhost-gpu || ls /dev/nvgpu/igpu0")
	return "seen in a container", run(ctx, nil, argv...)
}

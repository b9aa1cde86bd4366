package gpu

import "github.com/arasul/arasul/pkg/api"

// xids says what helps after an Xid, NVIDIA's number for an error of the GPU.
// Numbers that are missing call for nothing by themselves: among them 45, which
// only follows another one, and those of video and virtual GPUs.
//
// From NVIDIA's Xid catalogue (docs.nvidia.com/deploy/xid-errors, 2025-10). It is
// for drivers that do not say themselves what they need.
var xids = func() map[uint64]api.GPURecovery {
	m := map[uint64]api.GPURecovery{}
	for r, list := range map[api.GPURecovery][]uint64{
		api.RecoverRestart: {
			8, 11, 13, 25, 31, 32, 39, 40, 41, 60, 68, 69, 70, 71, 72, 75, 76, 77, 80, 82, 83, 84, 85, 86, 88, 89, 94,
			96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 126, 127, 128, 129, 130, 131, 132, 133, 134, 135, 139,
		},
		api.RecoverReset:  {46, 48, 62, 64, 95, 109, 110, 119, 120, 136, 140, 143, 155, 156, 158},
		api.RecoverReboot: {79}, // fell off the bus
	} {
		for _, xid := range list {
			m[xid] = r
		}
	}
	return m
}()

package main

import (
	"context"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/disk"
	"github.com/arasul/arasul/pkg/systemd"
)

const cleanupUnit = "arasul-cleanup.service"

// diskSpace is what arasul-cleanup.service and arasul-reserve.service do. What
// they have no right to, they ask systemd to let other units do.
type diskSpace struct{}

func (diskSpace) Clean(ctx context.Context, dryRun bool) (api.DiskCleanup, error) {
	units := &systemd.Hands{}
	defer units.Close()
	c := disk.Cleaner{Units: units, DryRun: dryRun}
	return c.Clean(ctx)
}

func (diskSpace) Reserve() (bytes uint64, why string, err error) { return disk.Reserve() }

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bundle"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/usb"
)

const updaterSocket = "/run/arasul/updater.sock"

// usbPolicy is what the owner wants. Who cannot be understood wants no harm.
func usbPolicy(log *slog.Logger) string {
	cfg, err := config.Load(config.Path)
	if err != nil && config.Concerns(err, "update") {
		log.Warn("configuration has mistakes, releases are staged and not installed", "err", err)
		return config.USBStage
	}
	return cfg.Update.USB
}

// candidate is a bundle that the updater would install.
type candidate struct {
	api.Bundle
	name string // on the stick
	size int64
	file *usb.File
}

// handOver has the updater look at each bundle, and gives it the newest one that
// can be installed. The file that was looked at is the one that is copied, and the
// updater checks it again while it comes: the stick is not asked twice.
func handOver(ctx context.Context, updater *client.Client, s *usb.Stick, found usb.Report, policy string, said *account, log *slog.Logger) error {
	best, err := newest(ctx, updater, s, found, said, log)
	if err != nil || best == nil {
		return err
	}
	defer best.file.Close()
	log = log.With("bundle", best.name, "version", best.Version)
	log.Info("bundle is copied", "size_bytes", best.size)
	if err := copyAll(ctx, updater, best); err != nil {
		log.Warn("bundle refused", "reason", err)
		said.refused(best.name, err)
		return nil //nolint:nilerr // said, and no fault of this machine
	}
	log.Info("bundle is on this machine")
	said.file(best.name).Taken = true
	if policy != config.USBApply {
		return nil
	}
	err = updater.Call(ctx, http.MethodPost, "/apply", api.ApplyUpdate{Bundle: best.ID, Actor: "usb", Reason: "USB stick"}, nil)
	if err != nil {
		log.Warn("bundle not installed", "reason", err)
		said.refused(best.name, err)
		return nil //nolint:nilerr // as above
	}
	log.Info("bundle is being installed")
	return nil
}

func newest(ctx context.Context, updater *client.Client, s *usb.Stick, found usb.Report, said *account, log *slog.Logger) (best *candidate, err error) {
	for _, b := range found.Bundles {
		c, err := look(ctx, updater, s, b)
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case err != nil:
			log.Warn("bundle refused", "bundle", b.Name, "reason", err)
			said.refused(b.Name, err)
			continue
		}
		said.file(b.Name).Version = c.Version
		switch {
		case c.Problem != nil:
			log.Info("bundle not taken", "bundle", b.Name, "version", c.Version, "reason", c.Problem.Message)
			said.file(b.Name).Problem = c.Problem
		case best == nil || c.Sequence > best.Sequence:
			c, best = best, c
		}
		if c != nil {
			_ = c.file.Close()
		}
	}
	return best, nil
}

// look has the updater read the beginning of a bundle.
func look(ctx context.Context, updater *client.Client, s *usb.Stick, b usb.Bundle) (*candidate, error) {
	file, err := s.Open(b)
	if err != nil {
		return nil, err
	}
	c := &candidate{name: b.Name, size: b.Size, file: file}
	h, err := bundle.ReadHead(file)
	if err == nil {
		err = updater.Send(ctx, "/inspect?by=usb", bytes.NewReader(h.Bytes()), &c.Bundle)
	}
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return c, nil
}

// slice is how much is sent at once: what is refused is refused at its end.
const slice = 16 << 20

// copyAll gives the updater the whole file.
func copyAll(ctx context.Context, updater *client.Client, c *candidate) error {
	var staged api.StagedBundle
	for at := int64(0); ; at = staged.ReceivedBytes {
		if _, err := c.file.Seek(at, io.SeekStart); err != nil {
			return err
		}
		before := staged.ReceivedBytes
		if err := updater.Send(ctx, fmt.Sprintf("/stage?size=%d&offset=%d", c.size, at), io.LimitReader(c.file, slice), &staged); err != nil {
			return err
		}
		if staged.Complete {
			return nil
		}
		if staged.ReceivedBytes <= before {
			return fmt.Errorf("it broke off after %d of %d bytes", staged.ReceivedBytes, c.size)
		}
	}
}

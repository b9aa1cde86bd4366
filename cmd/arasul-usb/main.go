// Command arasul-usb looks for update bundles on the USB stick whose kernel
// name it is given, hands the newest that can be installed to the updater, says
// what it found in the journal and in update_usb.log, and ends. arasul-usb@.service
// runs it for each stick that udev sees.
//
// It judges no bundle and does not watch for sticks: the updater does the one,
// udev the other. It is a program of its own because udev's library needs cgo.
//
// Exit status: 0 searched, whatever was found; 1 not searched; 2 wrong usage.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/jochenvg/go-udev"

	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/usb"
)

// maxNamed is how many bundles, and how many refused ones, get a line in the log.
// The result counts them all.
const maxNamed = 10

// runDir holds one folder per device, made by systemd (RuntimeDirectory=).
const runDir = "/run/arasul/usb/"

func main() { os.Exit(run(os.Args[1:], os.Stderr, usb.LogPath)) }

func run(args []string, stderr io.Writer, logPath string) int {
	if len(args) != 1 {
		fmt.Fprintln(stderr, "usage: arasul-usb DEVICE    (kernel name, like sda1)")
		return 2
	}
	if err := usb.CheckName(args[0]); err != nil {
		fmt.Fprintln(stderr, "arasul-usb:", err)
		return 2
	}
	// systemd stops the unit when the device goes.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()

	journal := slog.NewTextHandler(stderr, &slog.HandlerOptions{ReplaceAttr: withoutTime})
	log := slog.New(journal)
	if f, err := usb.OpenLog(logPath); err != nil {
		log.Warn("no log file, the journal has it all", "err", err)
	} else {
		defer f.Close()
		log = slog.New(slog.NewMultiHandler(journal, usb.Handler(f)))
	}
	return search(ctx, args[0], log.With("name", args[0]))
}

// search does the work and logs it. It returns the exit status.
func search(ctx context.Context, name string, log *slog.Logger) int {
	start := time.Now()
	d, err := lookup(name)
	if err != nil {
		log.Error("device refused", "err", err)
		return 1
	}
	log = log.With("label", d.Label, "filesystem", d.Type, "uuid", d.UUID)
	policy := usbPolicy(log)
	if policy == config.USBOff {
		log.Info("stick not searched", "reason", "[update] usb is off")
		return 0
	}
	updater, said := client.New(updaterSocket), newAccount(d.Label)
	report, err := usb.Search(ctx, d, runDir+name, func(ctx context.Context, s *usb.Stick, found usb.Report) error {
		return handOver(ctx, updater, s, found, policy, said, log)
	})
	duration := time.Since(start).Round(time.Millisecond)
	if errors.Is(err, usb.ErrInUse) {
		log.Info("stick not searched", "reason", err, "duration", duration)
		return 0
	}
	said.tell(updater, report, err, log)
	for _, b := range report.Bundles[:min(maxNamed, len(report.Bundles))] {
		log.Info("bundle found", "bundle", b.Name, "size_bytes", b.Size)
	}
	for _, r := range report.Refused[:min(maxNamed, len(report.Refused))] {
		log.Warn("bundle refused", "bundle", r.Name, "reason", r.Reason)
	}
	if err != nil {
		log.Error("stick not searched", "err", err, "duration", duration)
		return 1
	}
	if report.Partial {
		log.Warn("stick has more than is searched", "reason",
			fmt.Sprintf("at most %d names and %d entries", usb.MaxNames, usb.MaxEntries))
	}
	log.Info("stick searched", "result", report, "duration", duration)
	return 0
}

// lookup asks udev what it knows about a block device.
func lookup(name string) (usb.Device, error) {
	var u udev.Udev
	dev := u.NewDeviceFromSubsystemSysname("block", name)
	if dev == nil {
		return usb.Device{}, fmt.Errorf("%s: %w", name, usb.ErrGone)
	}
	if !dev.IsInitialized() {
		return usb.Device{}, fmt.Errorf("%s: udev has not looked at it yet", name)
	}
	return usb.Device{
		Name:  name,
		Node:  dev.Devnode(),
		Bus:   dev.PropertyValue("ID_BUS"),
		Usage: dev.PropertyValue("ID_FS_USAGE"),
		Type:  dev.PropertyValue("ID_FS_TYPE"),
		Label: dev.PropertyValue("ID_FS_LABEL"),
		UUID:  dev.PropertyValue("ID_FS_UUID"),
	}, nil
}

// withoutTime leaves the time to the journal.
func withoutTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		return slog.Attr{}
	}
	return a
}

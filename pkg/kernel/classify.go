package kernel

import (
	"slices"
	"strconv"
	"strings"

	"github.com/arasul/arasul/pkg/api"
)

const (
	maxText   = 256 // what is shown of a line, in bytes (api.KernelEvent)
	maxComm   = 15  // of a task's name in the kernel
	maxDevice = 256 // of a control group's name: longer ones are not ours
)

// finding is what a line says.
type finding struct {
	kind   api.KernelEventKind
	device string
	code   uint64
	echo   bool // may be the second line about what another told
}

// classify understands the lines that mean trouble, and no others. The forms
// are those of Linux 5.10 to 6.18; testdata/lines.tsv has one of each.
func classify(text string) (finding, bool) {
	for _, understand := range [...]func(string) (finding, bool){
		oomKill, ioError, filesystemError, hungTask, xid, nvgpu,
	} {
		if f, ok := understand(text); ok {
			return f, true
		}
	}
	return finding{}, false
}

// oomKill understands the two lines of a kill for want of memory. The first
// names the control group. The second is there for each task of the group, if
// all are killed (memory.oom.group), and alone when the kernel kills so many
// that it leaves out the first.
func oomKill(text string) (finding, bool) {
	if rest, ok := strings.CutPrefix(text, "oom-kill:constraint="); ok {
		return finding{kind: api.KernelOOMKill, device: killedGroup(rest)}, true
	}
	_, ok := number(text, "Out of memory: Killed process ")
	if !ok {
		_, ok = number(text, "Memory cgroup out of memory: Killed process ")
	}
	return finding{kind: api.KernelOOMKill, echo: true}, ok
}

// killedGroup is the control group of the task that was killed:
//
//	…,oom_memcg=/a.slice,task_memcg=/a.slice/b.service,task=python,pid=1,uid=0
//
// Whoever may make groups may also call one "x,task_memcg=", and so make it
// look as if the task was somebody else's. Then none is named.
func killedGroup(line string) string {
	const before = ",task_memcg="
	if strings.Count(line, before) != 1 {
		return ""
	}
	_, rest, _ := strings.Cut(line, before)
	group, _, whole := strings.Cut(rest, ",task=")
	group = unescape(group)
	if !whole || !strings.HasPrefix(group, "/") || len(group) > maxDevice {
		return ""
	}
	return group
}

// lost are the block layer's words for a request that failed because of the
// disk. "operation not supported" and the like are said of healthy ones.
var lost = []string{
	"I/O", "timeout", "recoverable transport", "protection",
	"critical medium", "critical target", "critical space allocation",
}

// ioError understands what the block layer and the buffer cache say:
//
//	blk_update_request: I/O error, dev sda, sector 2048 op 0x0:(READ) flags 0x0
//	Buffer I/O error on dev dm-0, logical block 65, lost async page write
//	Buffer I/O error on device dm-0, logical block 9217
func ioError(text string) (finding, bool) {
	if rest, ok := strings.CutPrefix(text, "Buffer I/O error on dev"); ok {
		device, _, ok := strings.Cut(strings.TrimPrefix(rest, "ice"), ", logical block ")
		device, spaced := strings.CutPrefix(device, " ")
		return onDisk(api.KernelIOError, device, ok && spaced)
	}
	text = strings.TrimPrefix(text, "blk_update_request: ") // before 5.16
	what, rest, _ := strings.Cut(text, " error, dev ")
	device, rest, ok := strings.Cut(rest, ", sector ")
	// A disk that refuses to discard says so with a word for something worse.
	return onDisk(api.KernelIOError, device, ok && slices.Contains(lost, what) && !strings.Contains(rest, "(DISCARD)"))
}

// filesystemErrors are what file systems say: before the name of the device,
// and after it.
var filesystemErrors = []struct{ before, after string }{
	{"EXT4-fs error (device ", ")"},
	{"EXT4-fs (", "): Remounting filesystem read-only"},
	{"EXT4-fs (", "): I/O error while writing superblock"},
	{"Aborting journal on device ", "-8."}, // ext4's; 8 is the journal's inode
	{"BTRFS error (device ", ")"},
	{"BTRFS critical (device ", ")"},
	{"BTRFS: error (device ", ")"},
	{"BTRFS warning (device ", "): csum failed"},
	{"BTRFS warning (device ", "): checksum error at"},
	{"XFS (", "): Metadata corruption detected"},
	{"XFS (", "): Metadata CRC error detected"},
	{"XFS (", "): Corruption "}, // detected, of in-memory data, warning
	{"XFS (", "): Internal error"},
	{"XFS (", "): metadata I/O error"},
	{"XFS (", "): log I/O error"},
	{"XFS (", "): Log I/O Error"},
	{"XFS (", "): I/O Error Detected"},
	{"XFS (", "): xfs_do_force_shutdown"},
	{"XFS (", "): Filesystem has been shut down"},
	{"XFS (", "): log mount failed"},
}

func filesystemError(text string) (finding, bool) {
	for _, e := range filesystemErrors {
		if rest, ok := strings.CutPrefix(text, e.before); ok {
			device, _, ok := strings.Cut(rest, e.after)
			device, _, _ = strings.Cut(device, ": state ") // btrfs since 5.18: "sda2: state EA"
			if f, ok := onDisk(api.KernelFilesystemError, device, ok); ok {
				return f, true
			}
		}
	}
	return finding{}, false
}

// hungTask understands
//
//	INFO: task jbd2/sda1-8:352 blocked for more than 120 seconds.
//	INFO: task sync:9 blocked in I/O wait for more than 122 seconds.
func hungTask(text string) (finding, bool) {
	rest, ok := strings.CutPrefix(text, "INFO: task ")
	task, rest, ok2 := strings.Cut(rest, " blocked ")
	colon := strings.LastIndexByte(task, ':')
	if !ok || !ok2 || colon < 0 || len(unescape(task[:colon])) > maxComm {
		return finding{}, false
	}
	_, isNumber := number(task[colon:], ":")
	return finding{kind: api.KernelHungTask}, isNumber && strings.HasPrefix(strings.TrimPrefix(rest, "in I/O wait "), "for more than ")
}

// fallenOff is the Xid of a GPU that does not answer any more.
const fallenOff = 79

// xid understands what NVIDIA's driver says:
//
//	NVRM: Xid (PCI:0000:01:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
//	NVRM: Xid (PCI:0000:65:00 GPU-I:02): 31, pid=1044, …
//	NVRM: The NVIDIA GPU 0000:b3:00.0\x0aNVRM: (PCI ID: 10de:26b5) installed in this system has\x0aNVRM: fallen off the bus …
func xid(text string) (finding, bool) {
	if rest, ok := strings.CutPrefix(text, "NVRM: Xid ("); ok {
		where, rest, ok := strings.Cut(rest, "): ")
		where, _, _ = strings.Cut(strings.TrimPrefix(where, "PCI:"), " GPU-I:")
		code, isNumber := number(rest, "")
		return finding{kind: api.KernelXid, device: where, code: code}, ok && isNumber && isPCI(where)
	}
	if rest, ok := strings.CutPrefix(text, "NVRM: The NVIDIA GPU "); ok {
		where, _, _ := strings.Cut(rest, `\x0a`)
		where, _, _ = strings.Cut(where, ".")
		return finding{kind: api.KernelXid, device: where, code: fallenOff},
			isPCI(where) && strings.Contains(rest, "fallen off the bus")
	}
	return finding{}, false
}

// nvgpu understands what the driver of a Jetson's GPU calls an error:
//
//	nvgpu: 17000000.gpu   nvgpu_set_err_notifier_locked:143  [ERR]  error notifier set to 31 for ch 479 owned by python3
//
// The notifier's numbers are those of the Xids.
func nvgpu(text string) (finding, bool) {
	rest, ok := strings.CutPrefix(text, "nvgpu: ")
	device, rest, _ := strings.Cut(rest, " ")
	where, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	message, isError := strings.CutPrefix(strings.TrimLeft(rest, " "), "[ERR]")
	if !ok || !isError || !isName(device) || !strings.Contains(where, ":") {
		return finding{}, false
	}
	code, _ := number(strings.TrimLeft(message, " "), "error notifier set to ")
	return finding{kind: api.KernelGPUError, device: device, code: code}, true
}

// onDisk is a finding about a disk, if ok and the name is one. Drives whose
// medium comes and goes are none: an empty one is read as an error.
func onDisk(kind api.KernelEventKind, device string, ok bool) (finding, bool) {
	if !ok || !isName(device) {
		return finding{}, false
	}
	stem := strings.TrimRight(device, "0123456789")
	return finding{kind: kind, device: device}, stem != "sr" && stem != "fd"
}

// isName says whether text can be the kernel's name of a device.
func isName(text string) bool {
	return text != "" && len(text) <= 32 && strings.Trim(text,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._!-") == ""
}

// isPCI says whether text is domain:bus:device in hexadecimal.
func isPCI(text string) bool {
	return len(text) <= 16 && strings.Count(text, ":") == 2 && strings.Trim(text, "0123456789abcdefABCDEF:") == ""
}

// number reads the decimal number after prefix, up to the first character that
// is no digit.
func number(text, prefix string) (uint64, bool) {
	rest, ok := strings.CutPrefix(text, prefix)
	digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
	n, err := strconv.ParseUint(rest[:digits], 10, 64)
	return n, ok && err == nil
}

// shorten leaves out the middle of a long line: a kill's control group stands
// there, and its task at the end.
func shorten(text string) string {
	const mark = " … "
	if len(text) <= maxText {
		return text
	}
	tail := maxText / 3
	return text[:maxText-tail-len(mark)] + mark + text[len(text)-tail:]
}

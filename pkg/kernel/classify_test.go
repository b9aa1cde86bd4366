package kernel

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/arasul/arasul/pkg/api"
)

// lines calls check with each line of the golden table.
func lines(t testing.TB, check func(text string, want finding, trouble bool)) {
	t.Helper()
	table, err := os.ReadFile("testdata/lines.tsv")
	if err != nil {
		t.Fatal(err)
	}
	for row := range strings.Lines(string(table)) {
		cells := strings.SplitN(strings.TrimSuffix(row, "\n"), "\t", 4)
		if len(cells) != 4 {
			t.Fatalf("row %q", row)
		}
		code, err := strconv.ParseUint(cells[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		check(cells[3], finding{kind: api.KernelEventKind(cells[0]), device: cells[1], code: code}, cells[0] != "-")
	}
}

func TestLinesOfRealKernelsAreUnderstood(t *testing.T) {
	seen := map[api.KernelEventKind]int{}
	lines(t, func(text string, want finding, trouble bool) {
		got, ok := classify(text)
		got.echo = false
		if ok != trouble || trouble && got != want {
			t.Errorf("%s\n got %+v, %v\nwant %+v", text, got, ok, want)
		}
		seen[got.kind]++
	})
	for _, kind := range []api.KernelEventKind{api.KernelOOMKill, api.KernelIOError, api.KernelFilesystemError,
		api.KernelHungTask, api.KernelXid, api.KernelGPUError} {
		if seen[kind] == 0 {
			t.Errorf("the table has no %s", kind)
		}
	}
}

// What anybody may choose, the name of a process, a file or a control group of
// his own, makes no trouble of a line, nor somebody else's of it.
func TestStrangersCannotSpeakForTheKernel(t *testing.T) {
	const crash = "[849]: segfault at 1 ip 00007f5e961aad76 sp 00007fff8b0c6778 error 4 in "
	for name, text := range map[string]string{
		"name before a crash":         "XFS (sda1): abc" + crash + "libc.so.6[7f5e96127000+156000] likely on CPU 1 (core 1, socket 0)",
		"name of a program with it":   "XFS (sda1): abc" + crash + "XFS (sda1): Metadata corruption detected[7f5e96127000+156000]",
		"name and a sector":           "I/O error, dev " + crash + "x, sector 5[400000+1000]",
		"a disk's name":               "I/O error, dev sda" + crash + "x, sector 5[400000+1000]",
		"name and a hang":             "INFO: task x" + crash + "a:1 blocked for more than 120 seconds.[400000+1000]",
		"name and a kill":             "Out of memory: " + crash + "a",
		"name of a Xid":               "NVRM: Xid (0:0:" + crash + "x): 79, y[400000+1000]",
		"name of a Jetson's GPU":      "nvgpu: 17000000" + crash + " a:1 [ERR] x",
		"name within a line":          "tail invoked oom-killer: NVRM: Xid (PCI:0000:01:00): 79, x",
		"a stick's label":             "usb 1-1: Product: EXT4-fs error (device sda1): x",
		"what a unit says":            "systemd[1]: EXT4-fs error (device sda1): x",
		"a name with a way in it":     "EXT4-fs error (device ../../sda1): x",
		"a name too long":             "EXT4-fs error (device " + strings.Repeat("a", 33) + "): x",
		"a driver's warning":          "nvgpu: 17000000.gpu nvgpu_x:12  [WRN]  [ERR] error notifier set to 79",
		"a second line of another":    `usb 1-1: x\x0aNVRM: Xid (PCI:0000:01:00): 79, x`,
		"a number that is none":       "NVRM: Xid (PCI:0000:01:00): x79, x",
		"a number beyond all numbers": "NVRM: Xid (PCI:0000:01:00): 99999999999999999999, x",
	} {
		if got, ok := classify(text); ok {
			t.Errorf("%s: %+v\n%s", name, got, text)
		}
	}
}

// Whoever may make control groups of his own, a container or a user, cannot
// have the kill of his task laid at another unit's door.
func TestKillIsNobodyElsesWhenTheGroupsNameIsATrick(t *testing.T) {
	const begin = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,"
	for name, c := range map[string]struct{ text, want string }{
		"honest": {begin + "oom_memcg=/u,task_memcg=/u/v,task=a,pid=1,uid=0", "/u/v"},
		"a path of another within his own": {begin + "oom_memcg=/u/x,task_memcg=/arasul.slice/arasul-llm.service,task=y,pid=1,uid=0," +
			"task_memcg=/u/x,task_memcg=/arasul.slice/arasul-llm.service,task=y,pid=1,uid=0,task=a,pid=1,uid=0", ""},
		"a task's name":     {begin + "oom_memcg=/u,task_memcg=/u/v,task=,task_memcg=/a,pid=1,uid=0", ""},
		"a set's name":      {strings.Replace(begin, "cpuset=/", "cpuset=x,task_memcg=y", 1) + "oom_memcg=/u,task_memcg=/u/v,task=a,pid=1,uid=0", ""},
		"cut off":           {begin + "oom_memcg=/u,task_memcg=/u/" + strings.Repeat("v", 100), ""},
		"no path":           {begin + "oom_memcg=/u,task_memcg=u,task=a,pid=1,uid=0", ""},
		"longer than names": {begin + "oom_memcg=/u,task_memcg=/" + strings.Repeat("v", maxDevice) + ",task=a,pid=1,uid=0", ""},
	} {
		got, ok := classify(c.text)
		if !ok || got.kind != api.KernelOOMKill || got.device != c.want {
			t.Errorf("%s: %+v, %v; want %q", name, got, ok, c.want)
		}
	}
}

func TestLongLineKeepsItsBeginningAndItsEnd(t *testing.T) {
	long := "oom-kill:" + strings.Repeat("x", 1000) + ",task=python,pid=1,uid=0"
	got := shorten(long)
	if len(got) > maxText || !strings.HasPrefix(got, "oom-kill:") || !strings.HasSuffix(got, ",task=python,pid=1,uid=0") {
		t.Errorf("%d bytes: %s", len(got), got)
	}
	if got := shorten(strings.Repeat("x", maxText)); len(got) != maxText {
		t.Errorf("a line of %d bytes became %d", maxText, len(got))
	}
}

func FuzzClassify(f *testing.F) {
	lines(f, func(text string, _ finding, _ bool) { f.Add(text) })
	f.Fuzz(func(t *testing.T, text string) {
		got, ok := classify(text)
		if !ok {
			return
		}
		switch got.kind {
		case api.KernelOOMKill:
			if got.device != "" && got.device[0] != '/' {
				t.Errorf("control group %q", got.device)
			}
		case api.KernelXid:
			if !isPCI(got.device) {
				t.Errorf("address %q", got.device)
			}
		case api.KernelHungTask:
			if got.device != "" {
				t.Errorf("device %q", got.device)
			}
		default:
			if !isName(got.device) {
				t.Errorf("device %q", got.device)
			}
		}
	})
}

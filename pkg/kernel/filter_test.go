package kernel

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/arasul/arasul/pkg/api"
)

// said is a line of the kernel's.
func said(text string) record { return record{text: text} }

func TestRecordedLogMeansThis(t *testing.T) {
	var f filter
	var got []string
	for _, entry := range recorded(t) {
		r, ok := parseRecord(entry)
		if !ok {
			t.Fatalf("not read: %q", entry)
		}
		if e, ok := f.take(r, time.Unix(0, 0).Add(r.age)); ok {
			got = append(got, fmt.Sprintf("%d %s %s", r.sequence, e.Kind, e.Device))
		}
	}
	want := []string{
		"533 filesystem-error loop0",
		"538 io-error dm-0", "539 io-error dm-0", "540 io-error dm-0", "541 io-error dm-0", "543 io-error dm-0",
		"545 filesystem-error dm-0",
		"546 io-error dm-0", "549 io-error dm-0",
		"550 filesystem-error dm-0",
		"565 hung-task ", "606 hung-task ",
		"1010 oom-kill /system.slice/hog-a.service",
		`1069 oom-kill /system.slice/system-hog\x2db.slice/hog-b@x\x2dy.service`, // three of its tasks are one kill
		"1079 io-error sda", "1084 io-error sda", "1089 io-error sda", "1090 io-error sda",
		"1171 oom-kill /system.slice/hog-c.service",
		"1213 filesystem-error vda1", // root's, who may
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestGPUIsNotHeardTwiceInTenMinutes(t *testing.T) {
	var f filter
	begin := time.Now()
	heard := func(after time.Duration, text string, want bool) {
		t.Helper()
		if e, ok := f.take(said(text), begin.Add(after)); ok != want {
			t.Errorf("after %v: %+v, %v", after, e, ok)
		}
	}
	heard(0, "NVRM: Xid (PCI:0000:01:00): 45, Ch 1", true)
	heard(time.Second, "NVRM: Xid (PCI:0000:01:00): 45, Ch 2", false)
	heard(time.Second, "NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", true)
	heard(time.Second, "NVRM: Xid (PCI:0000:02:00): 45, Ch 1", true)
	heard(9*time.Minute, "NVRM: Xid (PCI:0000:01:00): 45, Ch 3", false)
	heard(10*time.Minute, "NVRM: Xid (PCI:0000:01:00): 45, Ch 4", true)
	heard(0, "nvgpu: 17000000.gpu a:1 [ERR]  page fault error", true)
	heard(0, "nvgpu: 17000000.gpu b:2 [ERR]  mmu fault", false)
	heard(0, "nvgpu: 17000000.gpu c:3 [ERR]  error notifier set to 31 for ch 479", true)
	heard(0, "nvgpu: 17000000.gpu c:3 [ERR]  error notifier set to 31 for ch 478", false)
}

func TestKillIsToldOnce(t *testing.T) {
	var f filter
	begin := time.Now()
	count := func(after time.Duration, text string) (n int) {
		if _, ok := f.take(said(text), begin.Add(after)); ok {
			n++
		}
		return n
	}
	const first = "oom-kill:constraint=CONSTRAINT_NONE,global_oom,task_memcg=/a,task=b,pid=1,uid=0"
	const second = "Out of memory: Killed process 1 (b)"
	if n := count(0, second); n != 1 {
		t.Error("a second line without a first was not told")
	}
	if n := count(time.Second, first) + count(time.Second, second) + count(2*time.Second, second); n != 1 {
		t.Errorf("one kill was told %d times", n)
	}
	if n := count(3*time.Second, first); n != 1 {
		t.Error("the next kill was not told")
	}
	if n := count(time.Minute, second); n != 1 {
		t.Error("a later second line was not told")
	}
}

func TestFloodIsBounded(t *testing.T) {
	var f filter
	begin := time.Now()
	flood := func(after time.Duration) (n int) {
		for i := range 3000 {
			at := begin.Add(after + time.Duration(i)*time.Millisecond)
			if _, ok := f.take(said(fmt.Sprintf("I/O error, dev sda, sector %d op 0x0:(READ)", i)), at); ok {
				n++
			}
		}
		return n
	}
	if n := flood(0); n != most || f.withheld.Load() != 3000-most {
		t.Errorf("%d handed on and %d withheld of 3000", n, f.withheld.Load())
	}
	if n := flood(span); n != most {
		t.Errorf("%d handed on in the next span", n)
	}
}

func TestManyGPUsAreRememberedWithinBounds(t *testing.T) {
	var f filter
	now := time.Now()
	for i := range 10 * maxTold {
		f.take(said(fmt.Sprintf("NVRM: Xid (PCI:0000:01:00): %d, x", i)), now)
	}
	if len(f.told) > maxTold {
		t.Errorf("%d remembered", len(f.told))
	}
	later := now.Add(repeat)
	f.take(said("NVRM: Xid (PCI:0000:01:00): 5, x"), later)
	if len(f.told) != 1 || f.told[finding{kind: api.KernelXid, device: "0000:01:00", code: 5}].IsZero() {
		t.Errorf("%d remembered when all were over", len(f.told))
	}
}

func TestWhoIsBelieved(t *testing.T) {
	const line = "NVRM: Xid (PCI:0000:01:00): 79, x"
	for name, c := range map[string]struct {
		r    record
		want bool
	}{
		"the kernel":          {record{text: line}, true},
		"the kernel, half":    {record{text: line, fragment: true}, false},
		"root":                {record{facility: 1, text: line}, true},
		"root, with brackets": {record{facility: 1, text: line + " [ERR] [12] [x]: "}, true},
		"somebody, forwarded": {record{facility: 1, text: line + "[921]: hi"}, false},
		"a daemon, forwarded": {record{facility: 3, text: line + " [1] [22]: hi"}, false},
		"the kernel, about somebody of that name": {record{text: line + "[921]: hi"}, true},
	} {
		if _, ok := new(filter).take(c.r, time.Now()); ok != c.want {
			t.Errorf("%s: believed %v", name, ok)
		}
	}
}

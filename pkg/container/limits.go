package container

import "fmt"

// Limits of requirement PKG-5, on a machine of 64 GB; smaller ones give less.
const gib = 1 << 30

// limit is what an application may have of the machine.
type limit struct {
	name      string
	cpu       int // per cent of the whole machine; 0: no limit
	part      int // of the memory: one over this
	low, high uint64
}

var limits = []limit{
	{"llm", 50, 2, gib, 32 * gib},
	{"embeddings", 30, 8, gib / 2, 8 * gib},
	{"n8n", 0, 4, gib, 2 * gib},
	{"minio", 0, 8, gib / 2, 2 * gib},
}

// DropIns are the contents of drop-ins that limit the applications' units on a
// machine with so many cores and bytes of memory, by name of unit.
func DropIns(cores int, memory uint64) map[string]string {
	out := map[string]string{}
	for _, l := range limits {
		text := "[Service]\n"
		if l.cpu > 0 {
			text += fmt.Sprintf("CPUQuota=%d%%\n", l.cpu*max(cores, 1)) // systemd counts in cores
		}
		most := min(max(memory/uint64(l.part), l.low), l.high) //nolint:gosec // small numbers of ours
		text += fmt.Sprintf("MemoryMax=%d\nMemorySwapMax=%d\n", most, most/4)
		out["arasul-"+l.name+".service"] = text
	}
	return out
}

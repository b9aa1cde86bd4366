package dashboard

import (
	"slices"

	"github.com/arasul/arasul/pkg/api"
)

// rememberedIDs is how many incidents are known to be counted, several times
// what the healer sends again after a reconnect.
const rememberedIDs = 1024

// tally counts incidents and what was done in them, each once however often it
// is told.
type tally struct {
	kinds    map[kind]uint64
	deeds    map[deed]uint64
	attempts map[string][]int // incidents that are counted, with those of their attempts that are
	ids      []string         // their keys, the newest last
}

type kind struct {
	rule, unit string
	fault      api.Fault
}

type deed struct{ rule, action, outcome string }

func (t *tally) count(i api.Incident) {
	if t.attempts == nil {
		*t = tally{kinds: map[kind]uint64{}, deeds: map[deed]uint64{}, attempts: map[string][]int{}}
	}
	attempts, known := t.attempts[i.ID]
	if !known {
		if len(t.ids) == rememberedIDs {
			delete(t.attempts, t.ids[0])
			t.ids = slices.Delete(t.ids, 0, 1)
		}
		t.ids = append(t.ids, i.ID)
		t.kinds[kind{i.Rule, i.Unit, i.Fault}]++
	}
	for _, a := range i.Actions {
		if a.Outcome != "running" && !slices.Contains(attempts, a.Attempt) {
			attempts = append(attempts, a.Attempt)
			t.deeds[deed{i.Rule, a.Kind, a.Outcome}]++
		}
	}
	t.attempts[i.ID] = attempts
}

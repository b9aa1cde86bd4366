package heal

import (
	"cmp"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
)

const manual = "../../docs/healing.md"

// The table of rules in the manual is what the policy says; -update writes it.
func TestManualHasTheRulesOfThePolicy(t *testing.T) {
	p, err := LoadPolicy("")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	const begin, end = "<!-- rules -->\n", "<!-- end of rules -->"
	before, rest, _ := strings.Cut(string(text), begin)
	table, after, found := strings.Cut(rest, end)
	if !found {
		t.Fatalf("%s has no %s", manual, end)
	}
	want := ruleTable(p)
	if *update && table != want {
		if err := os.WriteFile(manual, []byte(before+begin+want+end+after), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if diff := gocmp.Diff(want, table); diff != "" {
		t.Errorf("%s (-policy +manual), -update writes it anew:\n%s", manual, diff)
	}
}

func ruleTable(p *Policy) string {
	var b strings.Builder
	b.WriteString("| rule | | when | then | because |\n|---|---|---|---|---|\n")
	for i := range p.Rules {
		r := &p.Rules[i]
		var when, then []string
		for j := range r.When {
			when = append(when, r.When[j].String())
		}
		for j := range r.Unless {
			when = append(when, "not "+r.Unless[j].String())
		}
		for _, rung := range r.Ladder {
			c := Command{Action: rung.Action, Level: rung.Level}
			if actions[rung.Action].unit {
				c.Unit = cmp.Or(rung.Unit, r.Unit)
			}
			then = append(then, c.what())
		}
		if len(then) == 0 {
			then = []string{"*report*"}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", r.Name, r.Class, strings.Join(when, "; "), strings.Join(then, ", "), r.Why)
	}
	return b.String()
}

func TestManualNamesEverythingThereIs(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range metrics {
		names = append(names, name)
	}
	names = append(names, Actions()...)
	names = append(names, ActionSystemdRestart)
	names = append(names, unitStates...)
	names = append(names, sortedKinds()...)
	names = append(names, keys(reflect.TypeFor[Policy]())...)
	names = append(names, keys(reflect.TypeFor[Scenario]())...)
	for _, name := range names {
		if !regexp.MustCompile("[`[.]" + regexp.QuoteMeta(name) + "[]`]").Match(text) {
			t.Errorf("%s says nothing of %s", manual, name)
		}
	}
}

// keys are the names of all that can be written in a file.
func keys(typ reflect.Type) (names []string) {
	for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || !strings.HasPrefix(typ.PkgPath(), "github.com/arasul/") && typ.PkgPath() != "" {
		return nil
	}
	for f := range typ.Fields() {
		name := f.Tag.Get("toml")
		if name == "" || name == "-" {
			continue
		}
		names = append(append(names, name), keys(f.Type)...)
	}
	return names
}

// The manual's rule and the story that tries it work as they stand there.
func TestManualsExampleWorks(t *testing.T) {
	text, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(text), "```toml\n")
	if len(blocks) != 3 {
		t.Fatalf("%d examples", len(blocks)-1)
	}
	rule, _, _ := strings.Cut(blocks[1], "```")
	story, _, _ := strings.Cut(blocks[2], "```")
	p, err := ParsePolicy("with the manual's rule", append(append([]byte{}, defaultPolicy...), rule...))
	if err != nil {
		t.Fatal(err)
	}
	s, err := ParseScenario("the manual's story", []byte(story), p)
	if err != nil {
		t.Fatal(err)
	}
	if out := Simulate(p, s); len(out.Problems) > 0 {
		t.Errorf("%q%s", out.Problems, timeline(out))
	}
}

package heal

import (
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

var lost = map[string]float64{"gpu_recovery": 4} // the driver wants a reboot

// reboots is a trace in which the GPU has been lost for long enough.
func newReboots(t *testing.T, allowed bool) *trace {
	tr := newTrace(t)
	tr.policy.AllowReboot = allowed
	tr.observe(Observation{Boot: "boot-1", Uptime: time.Hour})
	for range 60 { // gpu-fault tries its own ladder first
		tr.measured(10*time.Second, lost)
		if tr.state.Running != nil && tr.state.Running.Action != ActionReboot {
			tr.done("")
		}
		if tr.state.Running != nil {
			break
		}
	}
	return tr
}

// boot is the machine going down and coming up again.
func (tr *trace) boot(id string) {
	tr.now = tr.now.Add(40 * time.Second)
	tr.observe(Observation{Boot: id, Uptime: 20 * time.Second})
}

// Proves HEAL-4: off unless enabled.
func TestNoRebootUnlessAllowed(t *testing.T) {
	tr := newReboots(t, false)
	tr.measured(2*time.Hour, lost)
	for _, c := range tr.commands {
		if c.Action == ActionReboot {
			t.Fatal("rebooted")
		}
	}
	if inc := tr.about("gpu-lost"); !strings.Contains(last(&inc).Error, "[healer] reboot") {
		t.Errorf("the incident does not say why not: %v", outcomes(inc))
	}
}

// Proves HEAL-4: the state is saved before, and the same predicate judges after.
func TestRebootThatHelpedIsValidated(t *testing.T) {
	tr := newReboots(t, true)
	c := tr.state.Running
	if c == nil || c.Action != ActionReboot {
		t.Fatalf("under way: %+v, asked %v", c, tr.asked())
	}
	b := tr.state.Reboots[0]
	if b.BootID != "boot-1" || b.Incident != c.Incident || b.BootedAt != nil {
		t.Fatalf("intent %+v", b)
	}
	tr.boot("boot-2")
	inc := tr.state.incident(c.Incident)
	if tr.state.Running != nil || inc.State != api.IncidentVerifying {
		t.Fatalf("after the boot: %+v, %s", tr.state.Running, inc.State)
	}
	tr.measured(10*time.Minute, map[string]float64{"gpu_recovery": 0})
	inc = tr.state.incident(c.Incident)
	b = tr.state.Reboots[0]
	if inc.State != api.IncidentResolved || b.BootedAt == nil || b.Helped == nil || !*b.Helped {
		t.Errorf("%s, %+v", inc.State, b)
	}
}

// Proves HEAL-4: the same condition twice in a row never reboots a third time,
// and never twice within an hour.
func TestRebootThatDoesNotHelpIsNotRepeatedForEver(t *testing.T) {
	tr := newReboots(t, true)
	boots := 1
	for range 4 * 24 * 6 { // four days
		if c := tr.state.Running; c != nil {
			if c.Action == ActionReboot {
				boots++
				tr.boot("boot-" + string(rune('0'+boots)))
				continue
			}
			tr.done("")
		}
		tr.measured(10*time.Minute, lost)
	}
	var at []time.Time
	for _, b := range tr.state.Reboots {
		if b.Rule == "gpu-lost" {
			at = append(at, b.RequestedAt)
			if b.Helped == nil || *b.Helped {
				t.Errorf("a reboot in vain is %+v", b)
			}
		}
	}
	if len(at) != 2 || at[1].Sub(at[0]) < time.Hour {
		t.Fatalf("rebooted at %v", at)
	}
	if inc := tr.about("gpu-lost"); inc.State != api.IncidentExhausted || !strings.Contains(last(&inc).Error, "somebody has to look") {
		t.Errorf("%s: %+v", inc.State, last(&inc))
	}
}

func TestRebootThatWasRefusedDoesNotCount(t *testing.T) {
	tr := newReboots(t, true)
	tr.done("inhibited by dpkg")
	if len(tr.state.Reboots) != 0 {
		t.Errorf("%+v", tr.state.Reboots)
	}
	if a := tr.about("gpu-lost").Actions[0]; a.Outcome != "failed" || a.Error != "inhibited by dpkg" {
		t.Errorf("%+v", a)
	}
}

func TestMachineThatDoesNotGoDownIsNoticed(t *testing.T) {
	tr := newReboots(t, true)
	tr.done("")
	tr.measured(6*time.Minute, lost)
	if len(tr.state.Reboots) > 1 || tr.about("gpu-lost").Actions[0].Error != "the machine did not go down" {
		t.Errorf("%+v, %+v", tr.state.Reboots, tr.about("gpu-lost").Actions)
	}
}

// A command that was under way when the power failed has ended: nobody will say
// so, and a healer that waited for it would never do anything again.
func TestPowerCutEndsTheCommandUnderWay(t *testing.T) {
	tr := newTrace(t)
	tr.observe(Observation{Boot: "boot-1", Uptime: time.Hour})
	tr.fail(metricsUnit, "exit-code")
	if tr.state.Running == nil {
		t.Fatal("nothing under way")
	}
	tr.boot("boot-2")
	if tr.state.Running != nil {
		t.Fatalf("still under way: %+v", tr.state.Running)
	}
	tr.start(metricsUnit)
	tr.wait(time.Minute)
	if inc := tr.about(downRule); inc.State != api.IncidentResolved {
		t.Errorf("%s: %v", inc.State, outcomes(inc))
	}
}

// A power cut during a repair: what was true before it says nothing about now.
func TestNothingIsDoneAfterABootUntilSomebodyHasLooked(t *testing.T) {
	full := map[string]float64{"disk_ratio": 0.99}
	for name, then := range map[string]struct {
		values map[string]float64
		want   []string
	}{
		"the trouble has gone": {map[string]float64{"disk_ratio": 0.5}, []string{"cleanup"}},
		"it is still there":    {full, []string{"cleanup", "vacuum"}},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTrace(t)
			tr.observe(Observation{Boot: "boot-1", Uptime: time.Hour})
			tr.measured(30*time.Second, full)
			tr.boot("boot-2")
			tr.wait(time.Second)
			tr.wait(10 * time.Second)
			tr.wantAsked("cleanup")
			tr.measured(80*time.Second, then.values)
			tr.wantAsked("cleanup") // within the grace of a boot
			tr.measured(20*time.Second, then.values)
			tr.wantAsked(then.want...)
		})
	}

	t.Run("units", func(t *testing.T) {
		tr := newTrace(t)
		tr.observe(Observation{Boot: "boot-1", Uptime: time.Hour})
		tr.fail(metricsUnit, "exit-code")
		tr.fail(minioUnit, "exit-code")
		tr.boot("boot-2")
		tr.wait(30 * time.Second)
		tr.wantAsked("restart metrics")
		tr.start(metricsUnit)
		tr.start(minioUnit)
		tr.wait(10 * time.Second)
		tr.wantAsked("restart metrics")
		for _, inc := range tr.state.Incidents {
			if inc.Open() {
				t.Errorf("%s is %s", inc.Unit, inc.State)
			}
		}
	})
}

// A board without a battery: the clock ran ahead at the boot and was set back,
// and the healer was restarted since.
func TestBootGraceGoesByTheUptime(t *testing.T) {
	tr := newTrace(t)
	tr.observe(Observation{Boot: "boot-1", Uptime: 10 * time.Minute})
	tr.now = tr.now.Add(-24 * time.Hour)
	tr.observe(Observation{Boot: "boot-1", Uptime: 10 * time.Minute})
	tr.measured(30*time.Second, map[string]float64{"disk_ratio": 0.99})
	tr.wantAsked("cleanup")
}

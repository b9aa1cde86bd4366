package gpu

import (
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const gib = 1 << 30

// orin is a 64 GB Orin of whose memory the kernel shows 61.4 GiB.
func orin(usedGiB float64) api.GPU {
	return api.GPU{
		ID: "17000000.gpu", MemoryUnified: true,
		MemoryTotalBytes: new(uint64(64349268 << 10)), MemoryUsedBytes: new(uint64(usedGiB * gib)),
	}
}

func card(id string) api.GPU {
	return api.GPU{
		ID: id, Name: "NVIDIA H200", MemoryTotalBytes: new(uint64(80 * gib)), MemoryUsedBytes: new(uint64(gib)),
		TemperatureCelsius: new(50.0), SlowdownCelsius: new(95.0), UtilisationRatio: new(0.5),
	}
}

// run judges samples five seconds apart and says the level of kind after each,
// "-" for none.
func run(h *history, kind api.GPUProblemKind, start time.Time, samples ...api.GPU) (levels string) {
	var words []string
	for i, g := range samples {
		word := "-"
		for _, p := range h.judge(g, tokens{}, start.Add(time.Duration(i)*interval)) {
			if p.Kind == kind {
				word = string(p.Level)
			}
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

// Proves GPU-2.
func TestMemoryLevelsOfAnOrinAre36And38And40GB(t *testing.T) {
	for used, want := range map[float64]string{
		35.9: "-", 36: "warning", 37.9: "warning", 38: "critical", 39.9: "critical", 40: "limit", 60: "limit",
	} {
		g := orin(used)
		if got := run(&history{}, api.GPUMemory, time.Now(), g, g, g); got != "- - "+want {
			t.Errorf("%v GiB: %s, want %s", used, got, want)
		}
	}
}

// Proves GPU-2.
func TestMemoryLevelsElsewhereAreRatios(t *testing.T) {
	half := orin(0) // a 32 GB Orin
	half.MemoryTotalBytes = new(uint64(31 * gib))
	for used, want := range map[float64]string{17.9: "-", 18: "warning", 19: "critical", 20: "limit"} {
		half.MemoryUsedBytes = new(uint64(used * gib))
		if got := run(&history{}, api.GPUMemory, time.Now(), half, half, half); got != "- - "+want {
			t.Errorf("32 GB Orin, %v GiB: %s, want %s", used, got, want)
		}
	}
	for used, want := range map[float64]string{71: "-", 72: "warning", 76: "critical", 79.5: "limit"} {
		g := card("a")
		g.MemoryUsedBytes = new(uint64(used * gib))
		if got := run(&history{}, api.GPUMemory, time.Now(), g, g, g); got != "- - "+want {
			t.Errorf("80 GB card, %v GiB: %s, want %s", used, got, want)
		}
	}
}

func at(celsius float64) api.GPU {
	return api.GPU{ID: "17000000.gpu", MemoryUnified: true, TemperatureCelsius: &celsius}
}

// A single reading of 91 °C once stopped the language model.
func TestSpikesChangeNothing(t *testing.T) {
	got := run(&history{}, api.GPUTemperature, time.Now(), at(60), at(91), at(60), at(60), at(91), at(60), at(60))
	if strings.Trim(got, "- ") != "" {
		t.Error(got)
	}
}

// Proves GPU-2.
func TestTemperatureHasLevelsAndHysteresis(t *testing.T) {
	for celsius, want := range map[float64]string{82.9: "-", 83: "warning", 85: "critical", 90: "limit"} {
		if got := run(&history{}, api.GPUTemperature, time.Now(), at(celsius), at(celsius), at(celsius)); got != "- - "+want {
			t.Errorf("%v °C: %s, want %s", celsius, got, want)
		}
	}
	// It ends 5 °C lower, and by the same majority.
	got := run(&history{}, api.GPUTemperature, time.Now(), at(84), at(84), at(84), at(81), at(79), at(78), at(77), at(77), at(77))
	if want := "- - warning warning warning warning warning warning -"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Proves GPU-2.
func TestTemperatureLevelsFollowTheBoard(t *testing.T) {
	for _, c := range []struct {
		jetson   bool
		slowdown *float64
		want     [3]float64
	}{
		{true, nil, [3]float64{83, 85, 90}},
		{true, new(99.0), [3]float64{83, 85, 90}},
		{true, new(95.0), [3]float64{79, 81, 86}},
		{true, new(105.0), [3]float64{89, 91, 96}},
		{false, nil, [3]float64{83, 85, 90}},
		{false, new(95.0), [3]float64{83, 85, 90}},
		{false, new(87.0), [3]float64{83, 85, 87}}, // it would never reach 90
		{false, new(80.0), [3]float64{76, 78, 80}},
	} {
		if got := temperatureLevels(c.jetson, c.slowdown); got != c.want {
			t.Errorf("jetson %v: %v, want %v", c.jetson, got, c.want)
		}
	}
}

func TestValueThatIsMissingKeepsTheLevelForAWhile(t *testing.T) {
	none, start := api.GPU{ID: "17000000.gpu", MemoryUnified: true}, time.Now()
	got := run(&history{}, api.GPUTemperature, start, at(86), at(86), at(86), none, none, none, none, none, none, none, at(86))
	if want := "- - critical critical critical critical critical critical critical - -"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// Proves GPU-2. The prototype restarted a GPU that was at 99.9 % and answering.
func TestHangNeedsThirtySecondsWithoutAToken(t *testing.T) {
	type step struct {
		utilisation *float64
		token       uint64
		known       bool
	}
	steady := func(n int, s step) (list []step) {
		for range n {
			list = append(list, s)
		}
		return list
	}
	full, most := new(0.99), new(0.98)
	producing := steady(20, step{full, 0, true})
	for i := range producing {
		producing[i].token = uint64(i / 5) // one every 25 s
	}
	broken := steady(12, step{full, 7, true})
	broken[5].utilisation = most
	lapse := steady(12, step{full, 7, true})
	lapse[5].utilisation = nil
	for name, c := range map[string]struct {
		steps []step
		want  int // samples until the verdict, 0 for none
	}{
		"busy and mute":        {steady(12, step{full, 7, true}), 7},
		"tokens not known":     {steady(20, step{full, 0, false}), 0},
		"tokens come":          {producing, 0},
		"not quite busy":       {steady(20, step{most, 7, true}), 0},
		"a pause starts again": {broken, 0},
		"a look that failed":   {lapse, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h, start, got := &history{}, time.Now(), 0
			for i, s := range c.steps {
				now := start.Add(time.Duration(i) * interval)
				tk := tokens{}
				if s.known {
					tk = tokens{s.token, now}
				}
				for _, p := range h.judge(api.GPU{UtilisationRatio: s.utilisation}, tk, now) {
					if p.Kind == api.GPUHang && got == 0 {
						got = i + 1
					}
				}
			}
			if got != c.want {
				t.Errorf("after %d samples, want %d", got, c.want)
			}
		})
	}
}

func TestReportOfTokensGrowsOld(t *testing.T) {
	h, start := &history{}, time.Now()
	for i := range 20 {
		now := start.Add(time.Duration(i) * interval)
		if p := h.judge(api.GPU{UtilisationRatio: new(1.0)}, tokens{7, start}, now); len(p) > 0 {
			t.Fatalf("after %s: %+v", now.Sub(start), p)
		}
	}
}

// Proves GPU-2.
func TestDriversOwnVerdictGoesFirst(t *testing.T) {
	h, now := &history{}, time.Now()
	recovery := func(g api.GPU) (r api.GPURecovery) {
		for _, p := range h.judge(g, tokens{}, now) {
			if p.Kind == api.GPUFault {
				r = p.Recovery
			}
		}
		return r
	}
	g := card("a")
	h.note(api.GPUEvent{Time: now, Kind: api.GPUEventXid, Code: 119, Recovery: xids[119]})
	if r := recovery(g); r != api.RecoverReset {
		t.Errorf("an old driver's Xid 119 asks for %q", r)
	}
	g.Recovery = api.RecoverReboot
	if r := recovery(g); r != api.RecoverReboot {
		t.Errorf("the driver asks for a reboot, we for %q", r)
	}
	g.Recovery = api.RecoverNothing
	if r := recovery(g); r != "" {
		t.Errorf("the driver asks for nothing, we for %q", r)
	}
	g.Recovery = ""
	if r := recovery(g); r != "" {
		t.Errorf("what the driver took back came again: %q", r)
	}
}

func TestErrorsOfProgramsAreNoFaultOfTheGPU(t *testing.T) {
	h, now := &history{}, time.Now()
	for _, xid := range []uint64{13, 31, 43, 45, 63, 94} {
		h.note(api.GPUEvent{Time: now, Kind: api.GPUEventXid, Code: xid, Recovery: xids[xid]})
	}
	if p := h.judge(card("a"), tokens{}, now); len(p) > 0 {
		t.Errorf("%+v", p)
	}
}

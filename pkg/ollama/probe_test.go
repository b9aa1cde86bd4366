package ollama

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

const always = 100 * 365 * 24 * time.Hour

func expect(t *testing.T, r api.ProbeResult, status api.Status, detail string) {
	t.Helper()
	if r.Status != status || !strings.HasPrefix(r.Detail, detail) || (detail == "") != (r.Detail == "") {
		t.Errorf("it is %s, %q; want %s, %q", r.Status, r.Detail, status, detail)
	}
	if r.Duration > probeWithin.Seconds() || r.Time.IsZero() || r.Unit != "" {
		t.Errorf("time %s, duration %g s and unit %q", r.Time, r.Duration, r.Unit)
	}
}

// looks looks every ten seconds for so long, as the healer does, and returns
// each status with its detail once.
func looks(t *testing.T, probe func(context.Context) api.ProbeResult, during time.Duration) (seen []string) {
	t.Helper()
	for end := time.Now().Add(during); time.Now().Before(end); {
		next := time.Now().Add(10 * time.Second)
		r := probe(t.Context())
		if text := strings.TrimSpace(string(r.Status) + " " + r.Detail); !slices.Contains(seen, text) {
			seen = append(seen, text)
		}
		time.Sleep(time.Until(next))
	}
	return seen
}

// Proves HEAL-9.
func TestAnIdleOllamaIsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		expect(t, o.client().Probe(nil)(t.Context()), api.Up, "")
		if asked := o.asked(); len(asked) != 0 {
			t.Errorf("it asked %s", asked)
		}
		expect(t, newInstance(nil).client().Probe(nil)(t.Context()), api.Degraded, "no model is installed")
	})
}

// Proves HEAL-9.
func TestOnlyAnAPIThatDoesNotAnswerIsDown(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	expect(t, New(l.Addr().String()).Probe(nil)(t.Context()), api.Down, "nothing listens on 127.0.0.1:")

	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		probe := o.client().Probe(nil)
		o.hanging = true
		r := probe(t.Context())
		expect(t, r, api.Down, "its API does not answer within 3s")
		if r.Duration != probeWithin.Seconds() {
			t.Errorf("it looked for %g s", r.Duration)
		}

		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		expect(t, probe(ctx), api.Unknown, "looking was interrupted")

		o.hanging, o.slow = false, 800*time.Millisecond
		expect(t, probe(t.Context()), api.Degraded, "slow: its answers took 1.6s")
	})
}

// A model that computes has no tokens left over for those who ask how it is: the
// predecessor restarted it in the middle of an answer.
//
// Proves HEAL-9.
func TestABusyModelIsNeverDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		o.load("chat", 4096, always)
		probe := o.client().Probe(nil)
		probe(t.Context())
		o.busy = time.Hour
		seen := looks(t, probe, 3*time.Minute)
		want := []string{
			"up",
			"degraded chat has not answered for 2s: it may be busy",
			"degraded chat has not answered for 1m2s: it may be busy",
		}
		if !slices.Equal(seen, want) {
			t.Errorf("seen: %q; want %q", seen, want)
		}

		o.busy = 0
		o.use(always) // the long answer has ended
		expect(t, probe(t.Context()), api.Up, "")
	})
}

func TestAModelIsAskedOnceAMinuteAtMost(t *testing.T) {
	for name, test := range map[string]struct {
		keep  time.Duration
		asked int // in ten minutes
	}{
		"kept for ever":      {always, 10},
		"kept for some time": {20 * time.Minute, 1},
		"about to go":        {65 * time.Second, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newInstance(chat())
				o.load("chat", 4096, test.keep)
				if seen := looks(t, o.client().Probe(nil), 10*time.Minute+time.Second); !slices.Equal(seen, []string{"up"}) {
					t.Errorf("seen: %q", seen)
				}
				asked := slices.DeleteFunc(o.asked(), func(r string) bool { return !strings.HasPrefix(r, "/api/generate") })
				if len(asked) != test.asked {
					t.Errorf("it asked %d times, want %d", len(asked), test.asked)
				}
			})
		})
	}
}

func TestAModelInUseIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		o.load("chat", 4096, always)
		probe := o.client().Probe(nil)
		for range 20 {
			probe(t.Context())
			time.Sleep(30 * time.Second)
			o.use(always)
		}
		if asked := o.asked(); len(asked) != 0 {
			t.Errorf("it asked %q", asked)
		}
	})
}

// Proves HEAL-9.
func TestASlowAnswerIsDegradedUntilAFastOne(t *testing.T) {
	for name, test := range map[string]struct {
		embeds bool
		takes  time.Duration
		want   string
	}{
		"a prompt":       {false, 500 * time.Millisecond, ""},
		"a slow prompt":  {false, 501 * time.Millisecond, "degraded model took 501ms for a minimal answer; more than 500ms is slow"},
		"a vector":       {true, 50 * time.Millisecond, ""},
		"a slow vector":  {true, 51 * time.Millisecond, "degraded model took 51ms for a minimal answer; more than 50ms is slow"},
		"no more at all": {true, time.Hour, "degraded model has not answered for 2s: it may be busy"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				model := &installed{about: about{embeds: test.embeds, context: 512}, takes: test.takes}
				o := newInstance(map[string]*installed{"model": model})
				o.load("model", 512, always)
				probe := o.client().Probe(nil)
				want := []string{"up"}
				if test.want != "" {
					want = append(want, test.want)
				}
				if seen := looks(t, probe, 100*time.Second); !slices.Equal(seen, want) {
					t.Errorf("seen: %q; want %q", seen, want)
				}
				model.takes = time.Millisecond
				time.Sleep(time.Minute)
				expect(t, probe(t.Context()), api.Up, "")
			})
		})
	}
}

func TestAModelThatCannotAnswerIsDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		o.load("chat", 4096, always)
		o.broken = "CUDA error: out of memory"
		want := []string{"up", "degraded chat does not answer: CUDA error: out of memory"}
		if seen := looks(t, o.client().Probe(nil), 2*time.Minute); !slices.Equal(seen, want) {
			t.Errorf("seen: %q; want %q", seen, want)
		}
	})
}

// Proves HEAL-9.
func TestAModelOnTheCPUIsDegradedWhereThereIsAGPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		gpu := false
		probe := o.client().Probe(func() bool { return gpu })
		o.load("chat", 4096, always)
		expect(t, probe(t.Context()), api.Up, "")
		gpu = true
		expect(t, probe(t.Context()), api.Degraded, "chat runs on the CPU although there is a GPU")
		o.loaded[0].VRAM = 1
		expect(t, probe(t.Context()), api.Up, "")
	})
}

// Loading takes a minute where models are large: a question must not cost that.
func TestAskingDoesNotMakeAModelLoadAnew(t *testing.T) {
	for name, context := range map[string]int{
		"with the default":      4096,
		"with a context of its": 2048,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newInstance(chat())
				o.load("chat", context, always)
				looks(t, o.client().Probe(nil), 5*time.Minute)
				if o.loaded[0].Context != context || len(o.asked()) == 0 {
					t.Errorf("now it is loaded with %d", o.loaded[0].Context)
				}
			})
		})
	}
}

// With all of its context asked for by name, a model looks as if it had the
// default, so that it is loaded anew: once.
func TestAModelThatWasLoadedAnewByAQuestionIsNotAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		probe := o.client().Probe(nil)
		o.load("chat", 8192, always)
		expect(t, probe(t.Context()), api.Up, "")
		time.Sleep(time.Minute)
		o.models["chat"].loads = time.Second
		expect(t, probe(t.Context()), api.Up, "")
		if o.loaded[0].Context != 4096 {
			t.Fatal("it was not loaded anew")
		}
		o.loaded[0].Context = 8192 // as its user wants it
		o.asked()
		looks(t, probe, 5*time.Minute)
		if asked := o.asked(); len(asked) != 0 {
			t.Errorf("it was asked again: %q", asked)
		}
	})
}

func TestWhatIsNotLoadedAnyMoreIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newInstance(chat())
		o.broken = "no"
		o.load("chat", 4096, always)
		probe := o.client().Probe(nil)
		looks(t, probe, 2*time.Minute)
		expect(t, probe(t.Context()), api.Degraded, "chat does not answer: no")
		o.forget("chat")
		expect(t, probe(t.Context()), api.Up, "")
	})
}

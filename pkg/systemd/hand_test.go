//go:build machine || box

package systemd

import (
	"context"
	"flag"
	"fmt"
	"testing"
	"time"
)

// TestHand lets the hands do one thing to the systemd that runs, for the tests
// in scripts/proof: this test binary is put into a machine and called with a
// verb and what it is about.
//
//	hands.test -test.run='^TestHand$' pause arasul-n8n.service
func TestHand(t *testing.T) {
	if flag.NArg() == 0 {
		t.Skip("called without a verb")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var h Hands
	defer h.Close()
	verb, args := flag.Arg(0), flag.Args()[1:]
	one := map[string]func(context.Context, string) error{
		"restart": h.Restart, "stop-start": h.StopStart, "start": h.Start, "stop": h.Stop, "run": h.Run,
		"pause": h.Pause, "resume": h.Resume, "forget": h.ForgetFailures,
	}
	begin := time.Now()
	var err error
	switch {
	case one[verb] != nil && len(args) == 1:
		err = one[verb](ctx, args[0])
	case verb == "hard-restart":
		err = h.HardRestart(ctx, args)
	case verb == "reboot":
		var how string
		how, err = h.Reboot(ctx, "a test")
		fmt.Println("by", how)
	case verb == "dry-reboot": // logind's own rehearsal, the way a reboot is asked for
		var c *conn
		if c, err = h.conn(); err == nil {
			err = c.login1(ctx, "ScheduleShutdown", nil, "dry-reboot", uint64(time.Now().Add(time.Second).UnixMicro()))
		}
	default:
		t.Fatalf("no hand does %q", flag.Args())
	}
	fmt.Println("took", time.Since(begin).Round(time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
}

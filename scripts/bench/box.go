package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const boots = 3

// readyUnit asks for the page once all is said to be up and writes down how
// long the kernel has run by then. It asks nothing earlier, so as not to slow
// down the boot it measures.
const readyUnit = `[Unit]
After=arasul.target
[Service]
Type=exec
ExecStart=/bin/sh -c 'until curl --fail --silent --output /dev/null --unix-socket /run/arasul/proxy.sock http://arasul/api/health; do sleep 0.05; done; cat /proc/uptime >/run/bench-ready'
[Install]
WantedBy=multi-user.target
`

// boot presses the reset button of a box with the package, which is the hardest
// boot: nothing was flushed, PostgreSQL recovers. It reads the box's own clock,
// which starts with its kernel.
func boot(ctx context.Context, h *host) (t table, err error) {
	t.Head = []string{"figure", fmt.Sprintf("median of %d", boots), "all"}
	box := func(verb string, args ...string) (string, error) {
		return run(ctx, nil, "scripts/box", append([]string{verb, "--name", machineName}, args...)...)
	}
	inBox := func(script string) (string, error) { return box("exec", "--", "sh", "-c", script) }
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, _ = run(end, nil, "scripts/box", "down", "--name", machineName)
	}()
	if _, err := box("up", "--deb", h.deb); err != nil {
		return t, err
	}
	if _, err := inBox("cat >/etc/systemd/system/bench-ready.service <<'END'\n" + readyUnit + "END\nsystemctl enable --quiet bench-ready && sync"); err != nil {
		return t, err
	}
	var target, ready []time.Duration
	for range boots {
		if _, err := box("reset"); err != nil {
			return t, err
		}
		out, err := inBox("until [ -s /run/bench-ready ]; do sleep 0.1; done; cut -d' ' -f1 /run/bench-ready; systemctl show --property=ActiveEnterTimestampMonotonic --value arasul.target")
		if err != nil {
			return t, err
		}
		answer := strings.Fields(out)
		if len(answer) != 2 {
			return t, fmt.Errorf("reading the time of the boot: %q", out)
		}
		s, err := time.ParseDuration(answer[0] + "s")
		if err != nil {
			return t, err
		}
		us, err := strconv.ParseInt(answer[1], 10, 64)
		if err != nil {
			return t, err
		}
		ready, target = append(ready, s), append(target, time.Duration(us)*time.Microsecond)
	}
	analyze, err := inBox("systemd-analyze time | head -n 1; nproc; uname -r")
	if err != nil {
		return t, err
	}
	t.row("from the kernel's start to arasul.target active", seconds(percentile(target, 50)), list(target))
	t.row("from the kernel's start to /api/health 200", seconds(percentile(ready, 50)), list(ready))
	t.note("After the reset button: nothing was flushed, PostgreSQL recovers. QEMU with software emulation. The last boot in systemd's words: %s", strings.Join(strings.Split(analyze, "\n"), "; "))
	return t, nil
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

func list(all []time.Duration) string {
	var words []string
	for _, d := range all {
		words = append(words, seconds(d))
	}
	return strings.Join(words, ", ")
}

package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// bar shows how far something has come: on a terminal in one line that changes, and
// elsewhere in a line every ten per cent.
type bar struct {
	out      io.Writer
	name     string
	terminal bool
	shown    time.Time
	tenth    int64
	open     bool
}

func newBar(out io.Writer, name string) *bar {
	f, ok := out.(*os.File)
	return &bar{out: out, name: name, terminal: ok && term.IsTerminal(int(f.Fd())), tenth: -1}
}

// show says what it is at, and how many of how many bytes are done.
func (b *bar) show(phase string, done, total int64) {
	if total <= 0 {
		return
	}
	percent := min(100, done*100/total)
	if !b.terminal {
		if percent/10 > b.tenth {
			b.tenth = percent / 10
			fmt.Fprintf(b.out, "%s: %s %d %% of %s\n", b.name, phase, percent, size(uint64(total)))
		}
		return
	}
	if now := time.Now(); now.Sub(b.shown) < 100*time.Millisecond && percent < 100 {
		return
	} else {
		b.shown = now
	}
	const width = 30
	full := int(percent) * width / 100
	fmt.Fprintf(b.out, "\r%s: %s [%s%s] %3d %% of %s\x1b[K", b.name, phase, strings.Repeat("#", full), strings.Repeat(".", width-full), percent, size(uint64(total)))
	b.open = true
}

// percent says what it is at, on a terminal.
func (b *bar) percent(phase string, percent int) {
	const width = 30
	full := min(100, percent) * width / 100
	fmt.Fprintf(b.out, "\r%s: [%s%s] %3d %% %s\x1b[K", b.name, strings.Repeat("#", full), strings.Repeat(".", width-full), percent, phase)
	b.open = true
}

// end ends the line that changes.
func (b *bar) end() {
	if b.open {
		fmt.Fprintln(b.out)
		b.open = false
	}
}

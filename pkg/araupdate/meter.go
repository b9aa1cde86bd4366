package araupdate

import (
	"fmt"
	"io"
)

// quiet is how much is done without a word.
const quiet = 64 << 20

// meter says every ten per cent how far something has come.
type meter struct {
	out         io.Writer
	what        string
	done, total int64
	tenth       int64
}

func newMeter(out io.Writer, what string, total int64) *meter {
	return &meter{out: out, what: what, total: total}
}

// again begins anew, with the same files.
func (m *meter) again(what string) { m.what, m.done, m.tenth = what, 0, 0 }

func (m *meter) add(n int) {
	m.done += int64(n)
	if m.total < quiet {
		return
	}
	if tenth := m.done * 10 / m.total; tenth > m.tenth {
		m.tenth = tenth
		fmt.Fprintf(m.out, "%s: %d %% of %d MB\n", m.what, 10*tenth, m.total/1_000_000)
	}
}

// watch counts what is read.
func (m *meter) watch(r io.ReadSeeker) io.ReadSeeker { return watched{r, m} }

type watched struct {
	io.ReadSeeker
	meter *meter
}

// Read implements io.Reader.
func (w watched) Read(p []byte) (int, error) {
	n, err := w.ReadSeeker.Read(p)
	w.meter.add(n)
	return n, err
}

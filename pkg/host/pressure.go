package host

import (
	"bytes"
	"errors"
	"fmt"
)

// readPressure reads one file of /proc/pressure.
func readPressure(f *file, buf *buffer) (ratio float64, err error) {
	text, err := f.read(buf)
	if err != nil {
		return 0, err
	}
	if ratio, err = parsePressure(text); err != nil {
		return 0, fmt.Errorf("reading %s: %w", f.path, err)
	}
	return ratio, nil
}

// parsePressure returns the share of the last ten seconds, 0 to 1, in which at
// least one task waited: "some avg10" in percent.
func parsePressure(text []byte) (ratio float64, err error) {
	for number := 1; len(text) > 0; number++ {
		var line []byte
		line, text = cutLine(text)
		kind, rest := cutField(line)
		if string(kind) != "some" {
			continue
		}
		field, _ := cutField(rest)
		digits, ok := bytes.CutPrefix(field, []byte("avg10="))
		percent, ok2 := parseDecimal(digits)
		if !ok || !ok2 || percent > 100 {
			return 0, badLine(number, line)
		}
		return percent / 100, nil
	}
	return 0, errors.New("no line that begins with some")
}

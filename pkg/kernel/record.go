package kernel

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// maxRecord is the most that one read of /dev/kmsg gives, in bytes (the
// kernel's CONSOLE_EXT_LOG_MAX; 2 KiB since Linux 6.5).
const maxRecord = 8 << 10

// record is one entry of the kernel's log.
type record struct {
	facility int           // who wrote it, as in syslog(3): 0 is the kernel
	sequence uint64        // of the entry, gapless
	age      time.Duration // the log's clock when it was written: about the time since boot
	fragment bool          // part of a line, not a line
	text     string        // in printable ASCII: the kernel writes the rest, and backslashes, as \xNN
}

// parseRecord reads what one read of /dev/kmsg gives, as in
//
//	3,1021,80518272,-;I/O error, dev sda, sector 2048 op 0x0:(READ)
//	 SUBSYSTEM=block
//
// Fields before the semicolon may be added by newer kernels, lines after the
// first are for machines (kernel Documentation/ABI/testing/dev-kmsg).
func parseRecord(entry []byte) (r record, ok bool) {
	head, body, ok := bytes.Cut(entry, []byte{';'})
	fields := strings.Split(string(head[:min(len(head), 128)]), ",")
	if !ok || len(fields) < 4 {
		return record{}, false
	}
	priority, err1 := strconv.ParseUint(fields[0], 10, 16)
	sequence, err2 := strconv.ParseUint(fields[1], 10, 64)
	micros, err3 := strconv.ParseInt(fields[2], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || micros < 0 || micros > maxAge.Microseconds() {
		return record{}, false
	}
	text, _, _ := bytes.Cut(body, []byte{'\n'})
	if len(text) > maxRecord || bytes.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
		return record{}, false
	}
	return record{
		facility: int(priority >> 3),
		sequence: sequence,
		age:      time.Duration(micros) * time.Microsecond,
		fragment: fields[3] != "-",
		text:     string(text),
	}, true
}

// maxAge is longer than a machine runs.
const maxAge = 100 * 365 * 24 * time.Hour

// unescape undoes the kernel's \xNN.
func unescape(text string) string {
	var out strings.Builder
	for {
		plain, rest, found := strings.Cut(text, `\x`)
		out.WriteString(plain)
		if !found {
			return out.String()
		}
		text = rest
		if c, err := strconv.ParseUint(rest[:min(len(rest), 2)], 16, 8); err == nil && len(rest) >= 2 {
			out.WriteByte(byte(c))
			text = rest[2:]
		} else {
			out.WriteString(`\x`)
		}
	}
}

package journal

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/arasul/arasul/pkg/api"
)

// maxMessage is how much of one message is kept, in bytes.
const maxMessage = 16 << 10

// record is an entry as journalctl writes it.
type record struct {
	Cursor    string `json:"__CURSOR"`
	Realtime  string `json:"__REALTIME_TIMESTAMP"` // microseconds
	Message   field  `json:"MESSAGE"`
	Priority  field  `json:"PRIORITY"`
	Transport field  `json:"_TRANSPORT"`
	PID       field  `json:"_PID"`
	Unit      field  `json:"_SYSTEMD_UNIT"`
	About     field  `json:"UNIT"` // of what systemd itself says
	Dumped    field  `json:"COREDUMP_UNIT"`
	Object    field  `json:"OBJECT_SYSTEMD_UNIT"`
}

// field is the value of one: text, its bytes as numbers when it is no text, or
// a list of either when there are several, of which the first counts.
type field string

// UnmarshalJSON implements json.Unmarshaler.
func (f *field) UnmarshalJSON(data []byte) error {
	var text string
	if json.Unmarshal(data, &text) == nil {
		*f = field(text)
		return nil
	}
	var numbers []uint16 // a list of uint8 would be base64
	if json.Unmarshal(data, &numbers) == nil {
		raw := make([]byte, len(numbers))
		for i, n := range numbers {
			raw[i] = byte(n) //nolint:gosec // a byte, written as a number
		}
		*f = field(raw)
		return nil
	}
	var several []field
	if err := json.Unmarshal(data, &several); err != nil {
		return err
	}
	if len(several) > 0 {
		*f = several[0]
	}
	return nil
}

// parse reads one line of journalctl's output. What is no entry is not ok.
func parse(line []byte) (e api.LogEntry, ok bool) {
	var r record
	if len(line) == 0 || json.Unmarshal(line, &r) != nil {
		return e, false
	}
	us, err := strconv.ParseInt(r.Realtime, 10, 64)
	if err != nil || !api.IsLogCursor(r.Cursor) {
		return e, false
	}
	e = api.LogEntry{
		Time: time.UnixMicro(us).UTC(), Unit: Harmless(r.unit()), Severity: "info",
		Message: Harmless(string(r.Message)), Cursor: r.Cursor,
	}
	if n, err := strconv.Atoi(string(r.Priority)); err == nil && n >= 0 && n < len(api.Severities) {
		e.Severity = api.Severities[n]
	}
	return e, true
}

// unit is whom the entry is about.
func (r *record) unit() string {
	for _, f := range []struct {
		value field
		when  bool
	}{
		{api.KernelLog, r.Transport == "kernel"},
		{r.About, r.PID == "1"},
		{r.Dumped, true},
		{r.Object, true},
		{r.Unit, true},
	} {
		if f.when && f.value != "" {
			return string(f.value)
		}
	}
	return ""
}

// Harmless cuts a text to 16 KiB, between characters, and replaces what has an
// effect instead of a look: a control character by the sign for it, line ends
// included, what turns the direction of the text and what is not Unicode by the
// replacement character.
func Harmless(s string) string {
	cut := len(s) > maxMessage
	if cut {
		end := maxMessage
		for end > maxMessage-utf8.UTFMax && !utf8.RuneStart(s[end]) {
			end--
		}
		s = s[:end]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < 0x20:
			return 0x2400 + r // ␀ to ␟
		case r == 0x7f:
			return 0x2421 // ␡
		case r == ' ' || unicode.IsPrint(r):
			return r
		}
		return unicode.ReplacementChar
	}, s)
	if cut {
		s += " …"
	}
	return s
}

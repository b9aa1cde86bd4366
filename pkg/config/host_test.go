package config

import (
	"strings"
	"testing"
)

func TestHostNamesAreOfLabels(t *testing.T) {
	long := strings.Repeat("a", 63)
	for name, want := range map[string]bool{
		"arasul": true, "a": true, "0": true, "a-b": true, "a--b": true, "box.lan": true, "xn--bcher-kva.example": true, long + "." + long: true,
		"": false, "-": false, "-a": false, "a-": false, "A": false, "a_b": false, "a b": false, "ä": false, "a\x00": false,
		".": false, "a.": false, ".a": false, "a..b": false, "a.-b": false, long + "a": false, "a.B": false, "a\n": false, "aüa": false,
	} {
		if hostName(name) != want {
			t.Errorf("%q is a host name: %v", name, !want)
		}
		if got := hostLabel(name); got != (want && !strings.Contains(name, ".")) {
			t.Errorf("%q is a host label: %v", name, got)
		}
	}
}

package support

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"regexp"
	"slices"
)

// Hidden stands where a secret was.
const Hidden = "[hidden]"

// shortest is the length of a value below which it is not looked for: it would be
// found everywhere.
const shortest = 8

// Hider takes secrets out of texts.
type Hider struct{ known [][]byte }

// NewHider looks for these values, which may be text or bytes.
func NewHider(values ...[]byte) *Hider {
	h := &Hider{}
	for _, v := range values {
		v = bytes.TrimSpace(v)
		if len(v) < shortest {
			continue
		}
		h.known = append(h.known, v, []byte(hex.EncodeToString(v)), bytes.ToUpper([]byte(hex.EncodeToString(v))),
			[]byte(url.QueryEscape(string(v))))
		for shift := range 3 { // where it does not begin at a boundary of base64
			if len(v) <= shift+shortest {
				continue
			}
			for _, e := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
				text := e.EncodeToString(v[shift:])
				h.known = append(h.known, []byte(text[:len(text)/4*4]))
			}
		}
	}
	// The longest first: a shorter one may be a part of it.
	slices.SortFunc(h.known, func(a, b []byte) int { return cmp.Compare(len(b), len(a)) })
	h.known = slices.CompactFunc(h.known, bytes.Equal)
	return h
}

// pattern is what looks like a secret. Looking for it is slow, so it is done in
// the lines only that have one of the words, in lower case.
type pattern struct {
	words []string
	looks *regexp.Regexp // its first group is kept
}

var patterns = []pattern{
	{[]string{"bearer ", "basic "}, regexp.MustCompile(`(?i)((?:bearer|basic)\s+)[a-z0-9+/=._~-]{8,}`)},
	{
		[]string{"passw", "passphrase", "secret", "token", "key", "jwt", "authorization", "cookie"},
		regexp.MustCompile(`(?i)((?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|encryption[_-]?key|jwt|authorization|cookie)[a-z0-9_.-]*"?\s*[=:]\s*)(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;}\]]+)`),
	},
	{[]string{"://"}, regexp.MustCompile(`([a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+@`)},
	{[]string{"eyj"}, regexp.MustCompile(`()\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`)},
	{[]string{"$2"}, regexp.MustCompile(`()\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}`)},
	{[]string{"setup"}, regexp.MustCompile(`((?i:setup.?code)\W{1,3})[A-Z0-9]{4}(?:-[A-Z0-9]{4})+`)},
}

// privateKey is the one secret of several lines.
var privateKey = regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?-----END [A-Z ]*PRIVATE KEY-----`)

// Clean is the text without secrets.
func (h *Hider) Clean(text []byte) []byte {
	for _, v := range h.known {
		text = bytes.ReplaceAll(text, v, []byte(Hidden))
	}
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		text = privateKey.ReplaceAll(text, []byte("${1}"+Hidden))
	}
	out := make([]byte, 0, len(text))
	for line := range bytes.Lines(text) {
		out = append(out, cleanLine(line)...)
	}
	return out
}

func cleanLine(line []byte) []byte {
	low := bytes.ToLower(line)
	for _, p := range patterns {
		if slices.ContainsFunc(p.words, func(w string) bool { return bytes.Contains(low, []byte(w)) }) {
			line = p.looks.ReplaceAll(line, []byte("${1}"+Hidden))
		}
	}
	return line
}

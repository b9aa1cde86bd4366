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

// What looks like a secret. The first group is kept.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`(?i)((?:bearer|basic)\s+)[a-z0-9+/=._~-]{8,}`),
	regexp.MustCompile(`(?i)("?[a-z0-9_.-]*(?:password|passwd|passphrase|secret|token|api[_-]?key|private[_-]?key|access[_-]?key|encryption[_-]?key|jwt|authorization|cookie)[a-z0-9_.-]*"?\s*[=:]\s*)(?:"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[^\s,;}\]]+)`),
	regexp.MustCompile(`([a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+@`),
	regexp.MustCompile(`()\beyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+`),
	regexp.MustCompile(`(?s)(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?-----END [A-Z ]*PRIVATE KEY-----`),
	regexp.MustCompile(`()\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}`),
	regexp.MustCompile(`((?i:setup.?code)\W{1,3})[A-Z0-9]{4}(?:-[A-Z0-9]{4})+`),
}

// Clean is the text without secrets.
func (h *Hider) Clean(text []byte) []byte {
	for _, v := range h.known {
		text = bytes.ReplaceAll(text, v, []byte(Hidden))
	}
	for _, p := range patterns {
		text = p.ReplaceAll(text, []byte("${1}"+Hidden))
	}
	return text
}

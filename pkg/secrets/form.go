package secrets

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// maxBytes bounds a secret.
const maxBytes = 128

// form is what a secret looks like.
type form struct {
	make  func() []byte
	wrong func(secret []byte) string // why it cannot be one; empty: it can
}

// formOf returns the form of a secret of ours.
func formOf(name string) form {
	switch name {
	case "n8n-encryption-key", "n8n-jwt-secret", "n8n-runners-token":
		return form{func() []byte { return []byte(hex.EncodeToString(random(32))) }, func(s []byte) string {
			return wrongText(s, 64, 64, "0123456789abcdef")
		}}
	case "n8n-owner-password":
		return form{func() []byte { return password(32) }, func(s []byte) string { return wrongText(s, 8, 64, "") }}
	case "minio-root-user":
		return form{func() []byte { return []byte("arasul") }, func(s []byte) string { return wrongText(s, 3, 20, letters+"-_.") }}
	case "minio-root-password", "minio-n8n-secret", "minio-app-secret":
		return form{func() []byte { return password(40) }, func(s []byte) string { return wrongText(s, 8, 40, "") }}
	}
	return form{func() []byte { return random(32) }, wrongKey}
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

// wrongKey: 32 bytes. What a file system may leave of a file whose blocks had not
// been written is one byte, repeated.
func wrongKey(s []byte) string {
	switch {
	case len(s) != 32:
		return fmt.Sprintf("%d bytes instead of 32", len(s))
	case bytes.Count(s, s[:1]) == len(s):
		return "one byte, repeated"
	}
	return ""
}

// wrongText: printable ASCII without blanks, or of an alphabet.
func wrongText(s []byte, least, most int, alphabet string) string {
	switch {
	case len(s) < least || len(s) > most:
		return fmt.Sprintf("%d characters, and not %d to %d", min(len(s), maxBytes), least, most)
	case alphabet != "" && strings.Trim(string(s), alphabet) != "":
		return "characters that it must not have"
	case bytes.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "characters other than letters, digits and signs of ASCII"
	case bytes.Count(s, s[:1]) == len(s):
		return "one character, repeated"
	}
	return ""
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return b
}

// password is n letters and digits, of which one at least is a capital, one a
// small letter and one a digit. 32 of them are 190 bits.
func password(n int) []byte {
	for {
		p := make([]byte, 0, n)
		for len(p) < n {
			if b := random(1)[0]; int(b) < 256-256%len(letters) { // no letter is likelier than another
				p = append(p, letters[int(b)%len(letters)])
			}
		}
		if bytes.ContainsAny(p, letters[:26]) && bytes.ContainsAny(p, letters[26:52]) && bytes.ContainsAny(p, letters[52:]) {
			return p
		}
	}
}

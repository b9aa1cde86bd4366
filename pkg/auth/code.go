package auth

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"strings"
)

// The alphabet of Crockford: no I, L, O and U.
var crockford = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

const (
	setupCodeLength    = 12 // 60 bits
	recoveryCodeLength = 16 // 80 bits
	recoveryCodes      = 10
)

// newCode returns that many random characters in groups of four.
func newCode(length int) string {
	random := make([]byte, (length*5+7)/8)
	_, _ = rand.Read(random) // never fails
	text := crockford.EncodeToString(random)[:length]
	var groups []string
	for ; text != ""; text = text[4:] {
		groups = append(groups, text[:4])
	}
	return strings.Join(groups, "-")
}

// typed is a code as newCode means it, however it was copied by hand.
func typed(code string) string {
	if len(code) > 64 {
		return ""
	}
	return strings.NewReplacer("-", "", " ", "", "\t", "", "O", "0", "I", "1", "L", "1").Replace(strings.ToUpper(code))
}

// seal is what is stored of a code. It takes our key to try codes against it,
// so a copy of the database is of no use; that is why it need not be slow.
func seal(key []byte, code string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(typed(code)))
	return mac.Sum(nil)
}

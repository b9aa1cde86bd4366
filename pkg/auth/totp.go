package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6238 as every authenticator app speaks it; HMAC does not need SHA-1 to resist collisions
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"
)

const (
	totpPeriod = 30 * time.Second
	totpDigits = 6
	totpSecret = 20 // bytes, as the RFC wants for SHA-1
	totpSkew   = 1  // steps that a clock may be off
)

func totpStep(at time.Time) int64 { return at.Unix() / int64(totpPeriod/time.Second) }

// TOTPCode is the code of this step of time (RFC 6238, RFC 4226).
func TOTPCode(secret []byte, step int64) string {
	mac := hmac.New(sha1.New, secret)
	_ = binary.Write(mac, binary.BigEndian, step)
	sum := mac.Sum(nil)
	offset := sum[len(sum)-1] & 0xf
	n := binary.BigEndian.Uint32(sum[offset:]) & 0x7fffffff
	return fmt.Sprintf("%0*d", totpDigits, n%1_000_000)
}

// step returns the step of time that this code is for, if it is near now.
func step(secret []byte, code string, now time.Time) (step int64, ok bool) {
	at := totpStep(now)
	for s := at - totpSkew; s <= at+totpSkew; s++ {
		if subtle.ConstantTimeCompare([]byte(TOTPCode(secret, s)), []byte(code)) == 1 {
			step, ok = s, true
		}
	}
	return step, ok
}

// digits returns the code that was typed, or "" when it is not one of ours.
func digits(code string) string {
	code = strings.ReplaceAll(strings.TrimSpace(code), " ", "")
	if len(code) != totpDigits || strings.Trim(code, "0123456789") != "" {
		return ""
	}
	return code
}

func newTOTPSecret() []byte {
	secret := make([]byte, totpSecret)
	_, _ = rand.Read(secret) // never fails
	return secret
}

func secretText(secret []byte) string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(secret)
}

// totpURI is what the QR code for an authenticator app says.
func totpURI(secret []byte, user, machine string) string {
	query := url.Values{"secret": {secretText(secret)}, "issuer": {"Arasul"}}
	return (&url.URL{Scheme: "otpauth", Host: "totp", Path: "/Arasul:" + user + "@" + machine, RawQuery: query.Encode()}).String()
}

// box keeps secrets that are stored from those who only have the store.
type box struct{ aead cipher.AEAD }

func newBox(key []byte) (box, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return box{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return box{aead}, err
}

// shut seals plain for this user; nobody else's box entry opens as his.
func (b box) shut(user string, plain []byte) []byte {
	return b.aead.Seal(nil, nil, plain, []byte(user)) //nolint:gosec // NewGCMWithRandomNonce makes its own
}

func (b box) open(user string, sealed []byte) ([]byte, error) {
	plain, err := b.aead.Open(nil, nil, sealed, []byte(user))
	if err != nil {
		return nil, errors.New("opening the secret of the second factor: it was sealed with another key")
	}
	return plain, nil
}

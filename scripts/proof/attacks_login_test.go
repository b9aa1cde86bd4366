//go:build machine

package proof

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What AUTH-1 and AUTH-5 allow.
const (
	triesOfOneAddress = 5
	triesOfAll        = 30
	locked            = 15 * time.Minute
)

// guess tries a wrong password and says whether it was looked at.
func (v *visitor) guess(t *testing.T) (looked bool) {
	t.Helper()
	r := v.ask("POST", "/api/auth/login", credentials("Wrong-1-password"))
	switch r.status {
	case http.StatusUnauthorized:
		return true
	case http.StatusTooManyRequests:
		refusedForNow(t, r)
		return false
	}
	t.Fatalf("a wrong password: %s", r)
	return false
}

// refusedForNow checks that an answer says when to come again: within the lock, or, for who
// has used up the sliding window at its very beginning, when a fifth of the next one has
// passed. Windows begin at each quarter of an hour.
func refusedForNow(t *testing.T, r reply) {
	t.Helper()
	said, err := http.ParseTime(r.header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	longest := max(locked, said.Truncate(locked).Add(locked+locked/triesOfOneAddress).Sub(said))
	wait, err := strconv.Atoi(r.header.Get("Retry-After"))
	if r.status != http.StatusTooManyRequests || err != nil || wait < 1 || time.Duration(wait)*time.Second > longest {
		t.Errorf("want 429 with Retry-After of at most %s: %s", longest, r)
	}
}

func bruteForceFromOneAddress(t *testing.T, b *bed) {
	owner := b.neighbour()
	attacker := b.neighbour()
	looked := 0
	for range 3 * triesOfOneAddress {
		if attacker.guess(t) {
			looked++
		}
	}
	if looked > triesOfOneAddress {
		t.Errorf("%d passwords of one address were looked at, want at most %d", looked, triesOfOneAddress)
	}
	refusedForNow(t, attacker.ask("POST", "/api/auth/login", credentials(b.password()))) // found too late
	owner.login()
	if e := b.audited(owner, "login", "refused"); e.Address != attacker.from.String() {
		t.Errorf("the audit blames %s, it was %s", e.Address, attacker.from)
	}
}

// bruteForceFromManyAddresses is a network of machines; the owner's own device
// comes in all the same, from whatever address, and so does the console.
func bruteForceFromManyAddresses(t *testing.T, b *bed) {
	owner := b.admin()
	looked := 0
	for range triesOfAll + 10 {
		if b.stranger().guess(t) {
			looked++
		}
	}
	if looked > triesOfAll {
		t.Errorf("%d passwords of many addresses were looked at, want at most %d", looked, triesOfAll)
	}
	refusedForNow(t, b.stranger().ask("POST", "/api/auth/login", credentials(b.password())))

	if !owner.in() {
		t.Error("the owner was thrown out of a session")
	}
	owner.want(http.StatusNoContent, "POST", "/api/auth/logout", nil)
	owner.moved().login()
	if out := b.run("arasul", "user", "sessions"); !strings.Contains(out, owner.from.String()) && out == "" {
		t.Errorf("arasul user sessions says %q", out)
	}
	b.unlock()
	b.stranger().login()
}

// bruteForceFromOneNetwork has 2^64 addresses, as everybody has who has IPv6.
func bruteForceFromOneNetwork(t *testing.T, b *bed) {
	b.sh("ip -6 address replace " + homeSix + "/128 dev lo nodad; ip -6 route replace local 2001:db8:99::/48 dev lo")
	n := byte(addresses.Add(1))
	looked := 0
	for host := range byte(3 * triesOfOneAddress) {
		from := netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 0, 0x99, 0, n, 15: host + 1})
		if b.visitor(from).guess(t) {
			looked++
		}
	}
	if looked > triesOfOneAddress {
		t.Errorf("%d passwords of one network were looked at, want at most %d", looked, triesOfOneAddress)
	}
}

// lockoutFromTheOwnersAddress is somebody behind the same router.
func lockoutFromTheOwnersAddress(t *testing.T, b *bed) {
	owner := b.admin()
	owner.want(http.StatusNoContent, "POST", "/api/auth/logout", nil)
	attacker := b.visitor(b.neighbour().from)
	for attacker.guess(t) {
	}
	// The limit of requests is the address's; the lock must not be the owner's.
	returning := owner.at(b.neighbour().from)
	returning.login()
	if !returning.in() {
		t.Error("the owner's own device is locked out")
	}
	b.run("arasul", "user", "sessions")
	b.run("arasul", "user", "unlock")
	attacker.at(b.neighbour().from).login()
}

func aMadeUpDevice(t *testing.T, b *bed) {
	for range triesOfAll + 2 {
		b.stranger().guess(t)
	}
	for _, device := range []string{"", "1", strings.Repeat("A", 43), strings.Repeat("A", 3000), "admin", "' OR '1'='1"} {
		attacker := b.stranger()
		attacker.keep(deviceCookie, device)
		refusedForNow(t, attacker.ask("POST", "/api/auth/login", credentials(b.password())))
	}
}

// unknownUserVersusWrongPassword looks at the answer and at the time it takes.
func unknownUserVersusWrongPassword(t *testing.T, b *bed) {
	say := func(user string) (r reply, took time.Duration) {
		v := b.neighbour()
		v.ask("GET", "/api/auth/status", nil) // connected before the clock runs
		began := time.Now()
		r = v.ask("POST", "/api/auth/login", map[string]any{"username": user, "password": "Wrong-1-password"})
		return r, time.Since(began)
	}
	var known, unknown []time.Duration
	for range triesOfOneAddress {
		one, took := say("admin")
		known = append(known, took)
		other, tookOther := say("nobody-" + strconv.Itoa(len(unknown)))
		unknown = append(unknown, tookOther)
		if one.status != http.StatusUnauthorized || one.status != other.status || plain(one) != plain(other) {
			t.Errorf("a wrong password: %s\nan unknown user:  %s", one, other)
		}
	}
	slices.Sort(known)
	slices.Sort(unknown)
	a, z := known[len(known)/2], unknown[len(unknown)/2]
	t.Logf("figure: a wrong password takes %s, an unknown user %s (medians of %d)",
		a.Round(time.Millisecond), z.Round(time.Millisecond), len(known))
	if ratio := float64(a) / float64(z); ratio < 0.5 || ratio > 2 {
		t.Errorf("the time tells them apart: %s and %s", known, unknown)
	}
}

// plain is an answer without what differs from one to the next.
func plain(r reply) string {
	var answer map[string]any
	if decode(r.body, &answer) != nil {
		return r.body
	}
	delete(answer, "timestamp")
	delete(answer, "instance")
	return fmt.Sprint(answer, r.header["Set-Cookie"] != nil, r.header.Get("Content-Type"))
}

func settingUpASecondTime(t *testing.T, b *bed) {
	attacker := b.neighbour()
	mine := newPassword()
	for _, code := range []string{"", "0000-0000-0000", "' OR '1'='1"} {
		if r := attacker.ask("POST", "/api/auth/setup", map[string]any{"code": code, "password": mine}); r.status < 400 || r.status > 499 {
			t.Errorf("with the code %q: %s", code, r)
		}
	}
	if r := b.neighbour().ask("POST", "/api/auth/login", credentials(mine)); r.status != http.StatusUnauthorized {
		t.Errorf("the attacker's password: %s", r)
	}
	b.admin()
}

// aPasswordOverThePlainPort must not be of any use, or people would send it.
func aPasswordOverThePlainPort(t *testing.T, b *bed) {
	r := b.neighbour().ask("POST", "http://arasul.local/api/auth/login", credentials(b.password()))
	if r.status != http.StatusPermanentRedirect && r.status != http.StatusForbidden {
		t.Errorf("want 308 or 403: %s", r)
	}
	if r.header["Set-Cookie"] != nil || strings.Contains(r.body, "token") {
		t.Errorf("it was answered: %s", r)
	}
}

// aPasswordLongerThanBcryptReads begins like the right one.
func aPasswordLongerThanBcryptReads(t *testing.T, b *bed) {
	long := b.password() + strings.Repeat("x", 80)
	for _, password := range []string{long, long[:73], b.password() + "\x00", strings.Repeat("x", 100_000)} {
		if r := b.neighbour().ask("POST", "/api/auth/login", credentials(password)); r.status < 400 || r.status > 499 {
			t.Errorf("%d bytes: %s", len(password), r)
		}
	}
	v := b.admin()
	change := map[string]any{"current_password": b.password(), "new_password": "Aa1!" + strings.Repeat("y", 69)}
	if r := v.ask("POST", "/api/auth/change-password", change); r.status != http.StatusUnprocessableEntity {
		t.Errorf("a password of 73 bytes is set: %s", r)
	}
}

// aOneTimeCodeOverheard is used again while it is still shown.
func aOneTimeCodeOverheard(t *testing.T, b *bed) {
	owner := b.admin()
	var enrolled struct{ Secret string }
	owner.want(http.StatusOK, "POST", "/api/auth/totp/enroll", map[string]any{"password": b.password()}).read(t, &enrolled)
	t.Cleanup(func() { b.run("arasul", "user", "totp-off") })
	var confirmed struct {
		Codes []string `json:"recovery_codes"`
	}
	owner.moved().want(http.StatusOK, "POST", "/api/auth/totp/confirm", map[string]any{"code": oneTime(t, enrolled.Secret, 0)}).read(t, &confirmed)
	if len(confirmed.Codes) < 2 {
		t.Fatalf("recovery codes: %q", confirmed.Codes)
	}

	with := func(code string) int {
		login := credentials(b.password())
		if code != "" {
			login["totp"] = code
		}
		return b.neighbour().ask("POST", "/api/auth/login", login).status
	}
	if got := with(""); got != http.StatusUnauthorized {
		t.Errorf("the password alone: %d", got)
	}
	code := oneTime(t, enrolled.Secret, 1) // the one after: the first was spent above
	if first, second := with(code), with(code); first != http.StatusOK || second != http.StatusUnauthorized {
		t.Errorf("one code twice: %d, %d", first, second)
	}
	if first, second := with(confirmed.Codes[0]), with(confirmed.Codes[0]); first != http.StatusOK || second != http.StatusUnauthorized {
		t.Errorf("one recovery code twice: %d, %d", first, second)
	}
}

// oneTime is the code of RFC 6238 for so many steps from now.
func oneTime(t *testing.T, secret string, steps int64) string {
	t.Helper()
	key, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(strings.TrimRight(secret, "="))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	_ = binary.Write(mac, binary.BigEndian, time.Now().Unix()/30+steps)
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}

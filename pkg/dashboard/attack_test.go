package dashboard

import (
	"encoding/base32"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/auth"
)

// Proves AUTH-1: five wrong ones, and nothing more is tried.
func TestBruteForceFromOneAddressIsLockedOut(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setUp()
	thief := h.from(attacker)
	for n := range 5 {
		if r := thief.login(fmt.Sprint("Guess-number-", n)); r.code != 401 {
			t.Errorf("guess %d: %d", n, r.code)
		}
	}
	for _, guess := range []string{"Guess-number-6", password} { // right ones, too: else it could go on guessing
		r := thief.login(guess)
		if seconds := r.header.Get("Retry-After"); r.code != 429 || r.kind() != "locked" || len(seconds) != 3 {
			t.Errorf("%s: %d %v, Retry-After %q", guess, r.code, r.body, seconds)
		}
	}
	if got := h.audit("auth.login"); len(got) != 6 || !strings.Contains(got[0], " "+attacker+" Firefox refused") {
		t.Errorf("audit: %q", got)
	}
	stranger := h.from(owner) // with no cookie
	if r := stranger.login(password); r.code != 200 {
		t.Errorf("somebody else: %d", r.code)
	}
	thief.header["X-Forwarded-For"] = "192.168.1.67"
	if r := thief.login("Guess-number-7"); r.code != 401 {
		t.Errorf("next address: %d", r.code)
	}
}

// Proves AUTH-1: a hundred at once are no way around the count.
func TestBruteForceInParallelIsCounted(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setUp()
	var mu sync.Mutex
	codes := map[int]int{}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			r := httptest.NewRequest("POST", "/api/auth/login", strings.NewReader(`{"password": "Guess-number-1"}`))
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("X-Forwarded-For", attacker)
			r.Header.Set("X-Forwarded-Proto", "https")
			w := httptest.NewRecorder()
			h.Handler().ServeHTTP(w, r)
			mu.Lock()
			defer mu.Unlock()
			codes[w.Code]++
		})
	}
	all.Wait()
	if codes[401] != 5 || codes[429] != 15 {
		t.Errorf("answers %v", codes)
	}
}

// Proves AUTH-1: what many addresses do together locks strangers, and neither the
// owner's device nor the console.
func TestBruteForceFromManyAddressesDoesNotLockTheOwner(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	b.send("POST", "/api/auth/logout", nil)
	locked := 0
	for n := range 40 {
		thief := h.from(fmt.Sprintf("10.0.%d.%d", n, n))
		if n%2 == 0 {
			thief.address = fmt.Sprintf("2001:db8:0:%x::1", n)
		}
		if r := thief.send("POST", "/api/auth/login", map[string]any{"username": fmt.Sprint("admin", n%3), "password": "Guess-number-1"}); r.code == 429 {
			locked++
		}
	}
	if locked != 10 {
		t.Errorf("%d of 40 were locked out", locked)
	}
	if r := h.from(owner).login(password); r.code != 429 {
		t.Errorf("a device that nobody knows: %d", r.code)
	}
	forger := h.from(attacker)
	forger.cookies[deviceCookie] = strings.Replace(b.cookies[deviceCookie], ".", ".e30", 1)
	if r := forger.login(password); r.code != 429 {
		t.Errorf("a forged device: %d", r.code)
	}
	forger.cookies[deviceCookie] = b.cookies[sessionCookie]
	if r := forger.login(password); r.code != 429 {
		t.Errorf("a session's token for a device's: %d", r.code)
	}
	elsewhere := h.from("10.0.1.1") // the owner, at an address that is locked itself
	elsewhere.cookies[deviceCookie] = b.cookies[deviceCookie]
	if r := elsewhere.login(password); r.code != 200 {
		t.Errorf("the owner's device: %d %v", r.code, r.body)
	}
	if r := h.console("unlock", ""); r.code != 200 {
		t.Fatalf("unlock: %d", r.code)
	}
	if r := h.from(attacker).login(password); r.code != 200 {
		t.Errorf("after unlock: %d", r.code)
	}
}

// Proves AUTH-1: a device's own failures count, and a stolen cookie is worth five guesses.
func TestAKnownDeviceHasACountOfItsOwn(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	thief := h.from(attacker)
	thief.cookies[deviceCookie] = b.cookies[deviceCookie]
	for range 5 {
		if r := thief.login("Guess-number-1"); r.code != 401 {
			t.Fatalf("guess: %d", r.code)
		}
	}
	if r := thief.login(password); r.code != 429 {
		t.Errorf("the sixth: %d", r.code)
	}
	if b.send("POST", "/api/auth/change-password", map[string]any{"current_password": password, "new_password": second}).code != 204 {
		t.Error("whoever is logged in was locked out, too")
	}
	if r := b.login(second); r.code != 200 {
		t.Errorf("the owner, whose device is new again: %d", r.code)
	}
}

// Proves AUTH-2: a session that somebody else chose is never taken over.
func TestSessionFixation(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	thief := h.setUp() // whoever was logged in here before
	victim := h.from(owner)
	for _, planted := range []string{thief.cookies[sessionCookie], "planted", ""} {
		victim.cookies[sessionCookie] = planted
		if r := victim.login(password); r.code != 200 || victim.cookies[sessionCookie] == planted {
			t.Errorf("planted %.10q: %d, kept %v", planted, r.code, victim.cookies[sessionCookie] == planted)
		}
	}
	if thief.me() != 401 {
		t.Error("the planted session still runs")
	}
}

// Proves AUTH-4: nobody sends a password in clear.
func TestPasswordsAreTakenOverHTTPSOnly(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	b.header["X-Forwarded-Proto"] = "http"
	if r := b.login(password); r.code != 403 || r.kind() != "https-required" {
		t.Errorf("login: %d %v", r.code, r.body)
	}
	if b.me() != 401 {
		t.Error("a session counts in clear")
	}
}

// Proves AUTH-3: bcrypt would take whatever begins with the same 72 bytes.
func TestSeventyTwoBytesAreTheMost(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	long := strings.Repeat("Kamel-7!", 8) + "abcdefgh" // 72
	set := func(next string) reply {
		return b.send("POST", "/api/auth/change-password", map[string]any{"current_password": password, "new_password": next})
	}
	if r := set(long + "x"); r.code != 422 || !strings.Contains(fmt.Sprint(r.body), "max_bytes") {
		t.Errorf("73 bytes: %d %v", r.code, r.body)
	}
	if r := set(long); r.code != 204 {
		t.Fatalf("72 bytes: %d %v", r.code, r.body)
	}
	for _, wrong := range []string{long + "x", long + "\x00", long[:71], long + strings.Repeat("x", 500)} {
		if r := h.from(attacker).login(wrong); r.code != 401 {
			t.Errorf("%d bytes: %d", len(wrong), r.code)
		}
		h.console("unlock", "")
	}
	if r := h.from(attacker).login(long); r.code != 200 {
		t.Errorf("the right one: %d", r.code)
	}
}

// Proves ASVS 6.5: both factors, and each code once.
func TestTheSecondFactor(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	other := h.from(owner)
	other.login(password)
	if r := b.send("POST", "/api/auth/totp/enroll", map[string]any{"password": "wrong"}); r.code != 403 {
		t.Errorf("enroll with a wrong password: %d", r.code)
	}
	if r := b.send("POST", "/api/auth/totp/confirm", map[string]any{"code": "123456"}); r.code != 409 {
		t.Errorf("confirm before enroll: %d", r.code)
	}
	enrolled := b.send("POST", "/api/auth/totp/enroll", map[string]any{"password": password})
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(enrolled.text("secret"))
	if err != nil || !strings.HasPrefix(enrolled.text("uri"), "otpauth://totp/Arasul:admin@box?") {
		t.Fatalf("enroll: %v %v", err, enrolled.body)
	}
	step := time.Now().Unix() / 30
	confirmed := b.send("POST", "/api/auth/totp/confirm", map[string]any{"code": auth.TOTPCode(secret, step)})
	codes, _ := confirmed.body["recovery_codes"].([]any)
	if confirmed.code != 200 || len(codes) != 10 || other.me() != 401 || b.me() != 200 {
		t.Fatalf("confirm: %d %v, other session %d", confirmed.code, confirmed.body, other.me())
	}
	recovery := fmt.Sprint(codes[3])
	for _, try := range []struct {
		name, code string
		want       int
		kind       string
	}{
		{"none", "", 401, "totp-required"},
		{"the one that confirmed", auth.TOTPCode(secret, step), 401, "invalid-credentials"},
		{"one of an hour ago", auth.TOTPCode(secret, step-120), 401, "invalid-credentials"},
		{"a later one", auth.TOTPCode(secret, step+1), 200, ""},
		{"the same again", auth.TOTPCode(secret, step+1), 401, "invalid-credentials"},
		{"a recovery code", strings.ToLower(recovery), 200, ""},
		{"the same again", recovery, 401, "invalid-credentials"},
		{"a made up one", "0000-0000-0000-0000", 401, "invalid-credentials"},
	} {
		h.console("unlock", "")
		r := h.from(attacker).send("POST", "/api/auth/login", map[string]any{"password": password, "totp": try.code})
		if r.code != try.want || r.kind() != try.kind {
			t.Errorf("%s: %d %v", try.name, r.code, r.body)
		}
	}
	if r := b.send("GET", "/api/auth/me", nil); r.body["totp_enabled"] != true || r.body["recovery_codes_left"] != 9.0 {
		t.Errorf("me: %v", r.body)
	}
	if r := b.send("POST", "/api/auth/totp/disable", map[string]any{"password": password, "code": recovery}); r.code != 403 {
		t.Errorf("off with a used code: %d", r.code)
	}
	if r := b.send("POST", "/api/auth/totp/disable", map[string]any{"password": password, "code": codes[4]}); r.code != 204 {
		t.Errorf("off: %d %v", r.code, r.body)
	}
	if r := h.from(attacker).login(password); r.code != 200 {
		t.Errorf("without it: %d", r.code)
	}
}

// Proves AUTH-7 and LOG: what is in a name stays in its line, and in its field.
func TestNamesCannotForgeLinesOrFields(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	h.setUp()
	for _, name := range []string{
		"admin\nlevel=ERROR msg=forged", "admin\r\nSet-Cookie: x=y", "\x1b[2Jadmin", "\u202enimda", "admin\x00", `admin" addr=1.2.3.4 "`,
		"admin'; DROP TABLE admin_users; --", `admin' OR '1'='1`, `\x27 OR 1=1`, strings.Repeat("ä", 30),
	} {
		thief := h.from(attacker)
		thief.header["User-Agent"] = name
		if r := thief.send("POST", "/api/auth/login", map[string]any{"username": name, "password": name}); r.code != 401 && r.code != 422 {
			t.Errorf("%q: %d", name, r.code)
		}
		h.console("unlock", "")
	}
	for line := range strings.Lines(h.log.String()) {
		if strings.Contains(line, "forged") && !strings.HasPrefix(line, "time=") {
			t.Errorf("log line %q", line)
		}
	}
	for _, e := range h.audit("auth.login") {
		if regexp.MustCompile(`[\x00-\x1f\x7f\x{202a}-\x{202e}]`).MatchString(e) || len(e) > 600 {
			t.Errorf("audit %q", e)
		}
	}
	if len(h.audit("auth.login")) < 8 {
		t.Errorf("audit %q", h.audit("auth.login"))
	}
}

// Proves AUTH-7 for SQL: every parameter of every route of ours.
func TestSQLInEveryParameter(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	b := h.setUp()
	for _, attack := range []string{
		"' OR '1'='1", "'; DROP TABLE admin_users; --", "1); DELETE FROM audit_events; --", "$1", "%", "_", `\`, "\x00", "{}", "NULL", "1e9999", "'||pg_sleep(9)||'",
	} {
		q := strings.NewReplacer("%", "%25", " ", "%20", "'", "%27", ";", "%3B", `\`, "%5C", "\x00", "%00", "{", "%7B", "}", "%7D", "|", "%7C", "$", "%24").Replace(attack)
		begin := time.Now()
		for _, path := range []string{
			"/api/audit?action=" + q, "/api/audit?result=" + q, "/api/audit?since=" + q, "/api/audit?before=" + q, "/api/audit?limit=" + q,
			"/api/self-healing/events?rule=" + q, "/api/services/" + q,
		} {
			if r := b.send("GET", path, nil); r.code >= 500 {
				t.Errorf("%s: %d", path, r.code)
			} else if events, _ := r.body["events"].([]any); strings.HasPrefix(path, "/api/audit?action") && len(events) > 0 {
				t.Errorf("%s found %v", path, events)
			}
		}
		b.send("DELETE", "/api/auth/sessions/"+q, nil)
		for path, fields := range map[string][]string{
			"/api/auth/login": {"username", "password", "totp"}, "/api/auth/setup": {"code", "password"},
			"/api/auth/change-password": {"current_password", "new_password"},
			"/api/auth/totp/enroll":     {"password"}, "/api/auth/totp/confirm": {"code"}, "/api/auth/totp/disable": {"password", "code"},
		} {
			body := map[string]any{}
			for _, f := range fields {
				body[f] = attack
			}
			if r := b.send("POST", path, body); r.code < 400 || r.code >= 500 {
				t.Errorf("%s %q: %d %v", path, attack, r.code, r.body)
			}
			h.console("unlock", "")
		}
		if took := time.Since(begin); took > 8*time.Second {
			t.Errorf("%q slept: %v", attack, took)
		}
	}
	if b.me() != 200 {
		t.Error("the session is gone")
	}
	h.db.Exec(t, "arasul-postgres", `DO $$ BEGIN ASSERT (SELECT count(*) = 1 FROM admin_users) AND (SELECT count(*) > 0 FROM audit_events); END $$`)
}

// Proves AUTH-7: nothing that is secret is in what we log, keep in the audit or answer.
func TestSecretsAppearNowhere(t *testing.T) {
	t.Parallel()
	h := newHouse(t)
	code := h.console("setup-code", "").text("code")
	h.said.Reset() // the console was told it, which is what it is for
	secrets := map[string]string{"setup code": code, "password": password, "new password": second, "wrong password": "Guess-number-1"}
	b := h.from(owner)
	b.send("POST", "/api/auth/setup", map[string]any{"code": code, "password": "Guess-number-1" + strings.Repeat("x", 2000)})
	b.send("POST", "/api/auth/setup", map[string]any{"code": code, "password": password})
	secrets["session token"], secrets["device token"] = b.cookies[sessionCookie], b.cookies[deviceCookie]
	for _, body := range []any{
		map[string]any{"username": "Guess-number-1", "password": "x"}, map[string]any{"password": []string{"Guess-number-1"}},
		map[string]any{"passwort": "Guess-number-1"}, map[string]any{"password": password, "Guess": 1}, map[string]any{"username": strings.Repeat(password, 20), "password": password},
		`{"password": "Guess-number-1`, `"Guess-number-1"`, `Guess-number-1`, `{"password": Guess-number-1}`,
	} {
		h.from(attacker).send("POST", "/api/auth/login", body)
	}
	b.send("POST", "/api/auth/change-password", map[string]any{"current_password": password, "new_password": 7})
	b.send("POST", "/api/auth/change-password", map[string]any{"current_password": password, "new_password": second})
	h.console("passwd", `{"password": "`+second+`"`)
	h.console("passwd", `{"passwort": "`+second+`"}`)
	for _, path := range []string{"/api/auth/me", "/api/auth/sessions", "/api/audit", "/api/auth/status", "/api/openapi.json"} {
		b.send("GET", path, nil)
	}
	h.db.Exec(t, "arasul-postgres", `ALTER TABLE admin_users ADD CHECK (password_changed_at < '2000-01-01') NOT VALID; DROP TABLE password_history CASCADE`)
	b.send("POST", "/api/auth/change-password", map[string]any{"current_password": second, "new_password": password + "!"})
	h.db.Exec(t, "arasul-postgres", `ALTER TABLE login_attempts DROP COLUMN result`)
	h.from(attacker).login(password) // the database refuses
	if !strings.Contains(h.log.String(), "login impossible") {
		t.Errorf("log: %s", h.log)
	}
	conn := h.db.Connect(t, "arasul-postgres")
	var kept, hashes []byte
	if err := conn.QueryRow(t.Context(), `SELECT json_agg(a) FROM audit_events AS a`).Scan(&kept); err != nil {
		t.Fatal(err)
	}
	if err := conn.QueryRow(t.Context(), `SELECT json_agg(password_hash) FROM admin_users`).Scan(&hashes); err != nil {
		t.Fatal(err)
	}
	var list []string
	if err := json.Unmarshal(hashes, &list); err != nil || len(list) != 1 {
		t.Fatal(err, list)
	}
	secrets["hash"] = list[0]
	for place, text := range map[string]string{"log": h.log.String(), "answers": h.said.String(), "audit": string(kept)} {
		for name, secret := range secrets {
			if strings.Contains(text, secret) || strings.Contains(text, secret[:len(secret)-2]) {
				t.Errorf("the %s is in the %s", name, place)
			}
		}
	}
}

//go:build machine

package proof

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// refused checks that a token opens nothing, in a cookie or as bearer, neither
// at the API nor at an application.
func refused(t *testing.T, b *bed, what, token string) {
	t.Helper()
	cookie, bearer := b.thief(token)
	for _, thief := range []*visitor{cookie, bearer} {
		for _, path := range []string{"/api/auth/me", "/api/audit", "/n8n/rest/settings", "/models/api/tags"} {
			if r := thief.ask("GET", path, nil); r.status != http.StatusUnauthorized {
				t.Errorf("%s at %s: want 401: %s", what, path, r)
			}
		}
	}
}

// sessionFixation plants a session in the victim's browser before the login.
func sessionFixation(t *testing.T, b *bed) {
	attacker := b.admin() // a session that is known to somebody else, whoever it was
	fixed := attacker.cookie(sessionCookie)
	attacker.want(http.StatusNoContent, "POST", "/api/auth/logout", nil)
	for _, planted := range []string{fixed, "planted", rand.Text()} {
		victim := b.neighbour()
		victim.keep(sessionCookie, planted)
		victim.login()
		if victim.cookie(sessionCookie) == planted {
			t.Errorf("the login took the session %.20q… that was there", planted)
		}
		refused(t, b, "the planted session", planted)
	}
	if r := b.neighbour().ask("GET", "/api/auth/me?session="+fixed+"&token="+fixed, nil); r.status != http.StatusUnauthorized {
		t.Errorf("a token in the address: %s", r)
	}

	// Logging in again ends the session that was there.
	owner := b.admin()
	before := owner.cookie(sessionCookie)
	owner.moved().login()
	if owner.cookie(sessionCookie) == before {
		t.Error("the second login kept the token of the first")
	}
	refused(t, b, "the session before the second login", before)
}

func stolenTokenAfterLogout(t *testing.T, b *bed) {
	owner := b.admin()
	stolen := owner.cookie(sessionCookie)
	if cookie, bearer := b.thief(stolen); !cookie.in() || !bearer.in() {
		t.Fatal("the token is of no use before the logout, so this proves nothing")
	}
	r := owner.want(http.StatusNoContent, "POST", "/api/auth/logout", nil)
	if owner.cookie(sessionCookie) != "" {
		t.Errorf("the cookie stays after the logout: %v", r.header)
	}
	refused(t, b, "after the logout", stolen)

	client := b.bearerClient()
	client.want(http.StatusNoContent, "POST", "/api/auth/logout", nil)
	refused(t, b, "after the logout of a program", client.bearer)
}

func stolenTokenAfterLogoutEverywhere(t *testing.T, b *bed) {
	one, two, program := b.admin(), b.admin(), b.bearerClient()
	one.want(http.StatusNoContent, "POST", "/api/auth/logout-all", nil)
	refused(t, b, "the one who asked", one.cookie(sessionCookie))
	refused(t, b, "another browser", two.cookie(sessionCookie))
	refused(t, b, "a program", program.bearer)

	other := b.admin()
	b.run("arasul", "user", "logout-all")
	refused(t, b, "after logging out on the console", other.cookie(sessionCookie))
}

func stolenTokenAfterANewPassword(t *testing.T, b *bed) {
	owner, thief, program := b.admin(), b.admin(), b.bearerClient()
	old := b.password()
	owner.changePassword(newPassword())
	refused(t, b, "another browser", thief.cookie(sessionCookie))
	refused(t, b, "a program", program.bearer)
	if r := b.neighbour().ask("POST", "/api/auth/login", credentials(old)); r.status != http.StatusUnauthorized {
		t.Errorf("the old password: %s", r)
	}
	if !owner.in() {
		t.Error("who changed the password is thrown out")
	}

	// On the console, for one who forgot it.
	forgotten := newPassword()
	b.put("/run/proof-password", []byte(forgotten+"\n"))
	b.sh("arasul user passwd </run/proof-password; code=$?; rm /run/proof-password; exit $code")
	b.remember(forgotten)
	refused(t, b, "after a new password on the console", owner.cookie(sessionCookie))
	b.admin()
}

// changePassword changes the admin's password and remembers it.
func (v *visitor) changePassword(to string) {
	v.b.t.Helper()
	change := map[string]any{"current_password": v.b.password(), "new_password": to}
	// An answer that came too late does not say which one holds now.
	if r := v.want(http.StatusNoContent, "POST", "/api/auth/change-password", change); r.status != http.StatusNoContent &&
		v.b.neighbour().ask("POST", "/api/auth/login", credentials(to)).status != http.StatusOK {
		return
	}
	v.b.remember(to)
}

func stolenTokenAfterTheSessionWasEnded(t *testing.T, b *bed) {
	owner, thief := b.admin(), b.admin()
	for _, s := range owner.sessions() {
		if s.Address == thief.from.String() {
			owner.moved().want(http.StatusNoContent, "DELETE", "/api/auth/sessions/"+s.ID, nil)
		}
	}
	refused(t, b, "after its session was ended", thief.cookie(sessionCookie))
	if !owner.in() {
		t.Error("ending another session ended this one")
	}
}

// session is one of the list that the owner sees.
type session struct {
	ID        string    `json:"id"`
	Address   string    `json:"address"`
	UserAgent string    `json:"user_agent"`
	Kind      string    `json:"kind"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	Current   bool      `json:"current"`
}

func (v *visitor) sessions() []session {
	v.b.t.Helper()
	var answer struct{ Sessions []session }
	v.moved().want(http.StatusOK, "GET", "/api/auth/sessions", nil).read(v.b.t, &answer)
	return answer.Sessions
}

// forgedTokens are made without the key, of a real one's parts.
func forgedTokens(t *testing.T, b *bed) {
	owner := b.admin()
	real := owner.cookie(sessionCookie)
	parts := strings.Split(real, ".")
	if len(parts) != 3 {
		t.Fatalf("the token has %d parts, want those of a JWT", len(parts))
	}
	encode := base64.RawURLEncoding.EncodeToString
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	signed := func(header, key string) string {
		text := encode([]byte(header)) + "." + parts[1]
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(text))
		return text + "." + encode(mac.Sum(nil))
	}
	later := map[string]any{}
	if err := json.Unmarshal(claims, &later); err != nil {
		t.Fatal(err)
	}
	later["exp"] = time.Now().Add(100 * 24 * time.Hour).Unix()
	longer, _ := json.Marshal(later)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	broken := []byte(parts[2])
	broken[0] ^= 1

	for name, token := range map[string]string{
		"no algorithm":                encode([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + ".",
		"no algorithm, in capitals":   encode([]byte(`{"alg":"NONE","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2],
		"no signature":                parts[0] + "." + parts[1] + ".",
		"no signature and no dot":     parts[0] + "." + parts[1],
		"a broken signature":          parts[0] + "." + parts[1] + "." + string(broken),
		"an empty key":                signed(`{"alg":"HS256","typ":"JWT"}`, ""),
		"a guessed key":               signed(`{"alg":"HS256","typ":"JWT"}`, "arasul"),
		"a key of its own":            signed(`{"alg":"HS256","typ":"JWT","jwk":{"kty":"oct","k":"`+encode([]byte("mine"))+`"}}`, "mine"),
		"a key in a file":             signed(`{"alg":"HS256","typ":"JWT","kid":"../../../../dev/null"}`, ""),
		"another algorithm":           encode([]byte(`{"alg":"HS512","typ":"JWT"}`)) + "." + parts[1] + "." + parts[2],
		"an algorithm with two keys":  encode([]byte(`{"alg":"RS256","typ":"JWT","jwk":{"kty":"RSA","n":"`+encode(key.N.Bytes())+`"}}`)) + "." + parts[1] + "." + parts[2],
		"a life that was made longer": parts[0] + "." + encode(longer) + "." + parts[2],
		"nothing":                     "..",
		"very much":                   strings.Repeat("A", 6000),
	} {
		refused(t, b, name, token)
	}
	if !owner.in() {
		t.Error("the real token is of no use any more")
	}
}

func passwordChangeWithoutThePassword(t *testing.T, b *bed) {
	thief := b.admin() // somebody at a browser that was left open
	mine := newPassword()
	for _, body := range []map[string]any{
		{"new_password": mine},
		{"current_password": "", "new_password": mine},
		{"current_password": "Wrong-1-password", "new_password": mine},
	} {
		if r := thief.moved().ask("POST", "/api/auth/change-password", body); r.status < 400 || r.status > 499 {
			t.Errorf("%v: %s", body, r)
		}
	}
	if r := thief.moved().ask("POST", "/api/auth/totp/enroll", map[string]any{"password": "Wrong-1-password"}); r.status < 400 || r.status > 499 {
		t.Errorf("a second factor of the thief's: %s", r)
	}
	// Guessing it there is no way around the lock.
	for range 3 * triesOfOneAddress {
		thief.moved().ask("POST", "/api/auth/change-password", map[string]any{"current_password": "Wrong-1-password", "new_password": mine})
	}
	if r := thief.moved().ask("POST", "/api/auth/change-password", map[string]any{"current_password": b.password(), "new_password": mine}); r.status == http.StatusNoContent {
		b.remember(mine)
		t.Errorf("after %d wrong guesses in a session the right one was taken", 3*triesOfOneAddress)
	}
}

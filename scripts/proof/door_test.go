//go:build machine

package proof

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	sessionCookie = "__Host-arasul"
	deviceCookie  = "__Host-arasul-device"
)

// guarded is the machine at whose door these tests knock. Each leaves it
// unlocked, with an admin whose password is known here.
var guarded = share("machine", "t-door")

// passwords are those of the admins, by the name of the machine.
var passwords sync.Map

// takeGuarded gives the machine with an admin.
func takeGuarded(t *testing.T) *bed {
	t.Helper()
	b := guarded.take(t)
	b.settle()
	t.Cleanup(b.unlock)
	return b
}

// settle makes sure that the machine is well and has an admin whose password
// we know.
func (b *bed) settle() {
	b.t.Helper()
	b.allWell()
	if _, known := passwords.Load(b.name); known {
		return
	}
	first := b.neighbour()
	password := newPassword()
	first.want(http.StatusOK, "POST", "/api/auth/setup", map[string]any{"code": b.setupCode(), "password": password})
	b.remember(password)
}

// newPassword is one that was never used, and that the rules accept.
func newPassword() string { return "Fjord-7-" + rand.Text() }

func (b *bed) remember(password string) { passwords.Store(b.name, password) }

func (b *bed) password() string {
	b.t.Helper()
	password, ok := passwords.Load(b.name)
	if !ok {
		b.t.Fatalf("%s has no admin yet", b.name)
	}
	return password.(string)
}

// unlock forgets failed logins, as the admin does on the console.
func (b *bed) unlock() {
	b.t.Helper()
	b.run("arasul", "user", "unlock")
}

// credentials are what a login takes.
func credentials(password string) map[string]any {
	return map[string]any{"username": "admin", "password": password}
}

// decode reads JSON.
func decode(text string, answer any) error { return json.Unmarshal([]byte(text), answer) }

// login lets the visitor in with the right password.
func (v *visitor) login() *visitor {
	v.b.t.Helper()
	v.want(http.StatusOK, "POST", "/api/auth/login", credentials(v.b.password()))
	if v.cookie(sessionCookie) == "" {
		v.b.t.Fatalf("no cookie %s after the login", sessionCookie)
	}
	return v
}

// admin is somebody in the local network who is logged in.
func (b *bed) admin() *visitor {
	b.t.Helper()
	return b.neighbour().login()
}

// bearerClient is a program that is logged in, from an address of its own.
func (b *bed) bearerClient() *visitor {
	b.t.Helper()
	v := b.neighbour()
	login := credentials(b.password())
	login["bearer"] = true
	var answer struct{ Token string }
	r := v.want(http.StatusOK, "POST", "/api/auth/login", login)
	r.read(b.t, &answer)
	if answer.Token == "" || v.cookie(sessionCookie) != "" {
		b.t.Fatalf("want a token and no cookie: %v", r.header)
	}
	v.bearer = answer.Token
	return v
}

// moved is the same person at another address.
func (v *visitor) moved() *visitor {
	v.b.t.Helper()
	return v.at(v.b.neighbour().from)
}

func (v *visitor) at(from netip.Addr) *visitor {
	v.b.t.Helper()
	other := v.b.visitor(from)
	other.client.Jar, other.bearer = v.client.Jar, v.bearer
	return other
}

// in says whether the visitor counts as the admin.
func (v *visitor) in() bool {
	v.b.t.Helper()
	r := v.moved().ask("GET", "/api/auth/me", nil) // moved: asking has limits, too
	if r.status != http.StatusOK && r.status != http.StatusUnauthorized {
		v.b.t.Errorf("/api/auth/me: %s", r)
	}
	return r.status == http.StatusOK
}

// thief is somebody else, far away in the local network, who got hold of a token.
func (b *bed) thief(token string) (asCookie, asBearer *visitor) {
	b.t.Helper()
	asCookie, asBearer = b.neighbour(), b.neighbour()
	asCookie.keep(sessionCookie, token)
	asBearer.bearer = token
	return asCookie, asBearer
}

// event is what the audit says of one action.
type event struct {
	Actor, Action, Subject, Address, Result, Detail string
	UserAgent                                       string `json:"user_agent"`
}

// audited waits until the audit says that an action came to a result, and
// returns the newest such event. The action may be part of the name.
func (b *bed) audited(admin *visitor, action, result string) (found event) {
	b.t.Helper()
	eventually(b.t, 5*time.Second, func() error {
		var answer struct{ Events []event }
		r := admin.moved().ask("GET", "/api/audit?limit=100", nil)
		r.read(b.t, &answer)
		for _, e := range answer.Events {
			if strings.Contains(e.Action, action) && e.Result == result {
				found = e
				return nil
			}
		}
		return fmt.Errorf("no %s with the result %s in %s", action, result, r.body)
	})
	return found
}

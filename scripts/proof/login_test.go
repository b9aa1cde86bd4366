//go:build machine

package proof

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// Proves AUTH-2, AUTH-3 and BOOT-6: nobody has a password before the owner sets
// one, with a code that only who stands at the machine can read.
func TestFirstLoginWithTheSetupCode(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-first", "--deb", deb(t))
	b.allWell()
	var status struct {
		SetupNeeded   bool `json:"setup_needed"`
		Authenticated bool
		Secure        bool
	}
	b.neighbour().want(http.StatusOK, "GET", "/api/auth/status", nil).read(t, &status)
	if !status.SetupNeeded || status.Authenticated || !status.Secure {
		t.Errorf("a new machine says %+v", status)
	}

	// The code is announced, once, where only somebody at the machine can read it.
	const unit = "arasul-setup-code.service"
	code := regexp.MustCompile(`\b[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}\b`)
	announced := code.FindString(b.run("journalctl", "--no-pager", "--output=cat", "--unit="+unit))
	if shown := b.run("cat", "/run/issue.d/arasul.issue"); announced == "" || !strings.Contains(shown, announced) {
		t.Fatalf("the journal announces %q, the console shows %q", announced, shown)
	}
	if lines := strings.Count(b.run("journalctl", "--no-pager", "--output=json"), announced); lines != 1 {
		t.Errorf("%d lines of the journal hold the code, want 1", lines)
	}

	// Guessing it is refused, and locks the guesser out.
	password := newPassword()
	attacker, looked := b.neighbour(), 0
	for range 2 * triesOfOneAddress {
		if r := attacker.ask("POST", "/api/auth/setup", map[string]any{"code": "0123-4567-89AB", "password": password}); r.status == http.StatusUnauthorized {
			looked++
		} else {
			refusedForNow(t, r)
		}
	}
	if looked > triesOfOneAddress {
		t.Errorf("%d guesses were looked at, want at most %d", looked, triesOfOneAddress)
	}
	for _, guess := range []string{"admin", "arasul", "Arasul-1-admin", password} {
		b.neighbour().want(http.StatusUnauthorized, "POST", "/api/auth/login", credentials(guess))
	}

	owner := b.neighbour()
	owner.want(http.StatusUnprocessableEntity, "POST", "/api/auth/setup", map[string]any{"code": announced, "password": "Short-1"})
	var answer struct {
		Username  string
		ExpiresAt time.Time `json:"expires_at"`
	}
	r := owner.want(http.StatusOK, "POST", "/api/auth/setup", map[string]any{"code": announced, "password": password})
	r.read(t, &answer)
	b.remember(password)
	if answer.Username != "admin" || time.Until(answer.ExpiresAt).Round(time.Hour) != 24*time.Hour || strings.Contains(r.body, "token") || !owner.in() {
		t.Errorf("after the first login: %s", r)
	}
	for _, cookie := range r.header["Set-Cookie"] {
		for _, want := range []string{"__Host-", "; Secure", "; HttpOnly", "; SameSite=", "; Path=/"} {
			if !strings.Contains(cookie, want) {
				t.Errorf("a cookie lacks %s", want)
			}
		}
	}

	// The code opens nothing any more, and is no longer shown.
	b.neighbour().want(http.StatusConflict, "POST", "/api/auth/setup", map[string]any{"code": announced, "password": newPassword()})
	eventually(t, 30*time.Second, func() error {
		if out, _, code := b.try("cat", "/run/issue.d/arasul.issue"); code == 0 && strings.Contains(out, announced) {
			return fmt.Errorf("still shown: %s", out)
		}
		return nil
	})
	if out, errOut, _ := b.try("arasul", "user", "setup-code"); code.MatchString(out + errOut) {
		t.Errorf("another code for a machine that has its admin: %s%s", out, errOut)
	}
	b.run("systemctl", "restart", unit)
	if out := code.FindAllString(b.run("journalctl", "--no-pager", "--output=cat", "--unit="+unit), -1); len(out) != 1 {
		t.Errorf("announced codes: %q", out)
	}
	b.accountWorks(owner)
}

// accountWorks goes through what the owner may do with the account.
func (b *bed) accountWorks(owner *visitor) {
	t := b.t
	var me struct {
		Username string
		Session  string
	}
	owner.moved().want(http.StatusOK, "GET", "/api/auth/me", nil).read(t, &me)
	if me.Username != "admin" || me.Session == "" {
		t.Errorf("/api/auth/me: %+v", me)
	}

	program := b.bearerClient()
	program.want(http.StatusOK, "GET", "/api/audit", nil)
	kinds := map[string]int{}
	for _, s := range owner.sessions() {
		kinds[s.Kind]++
		if s.Current != (s.ID == me.Session) || s.UserAgent != "proof" || s.Address == "" {
			t.Errorf("session %+v", s)
		}
	}
	if kinds["cookie"] != 1 || kinds["bearer"] != 1 {
		t.Errorf("sessions: %v", kinds)
	}

	// The rules of AUTH-3, and no way back to an old password.
	old := b.password()
	var rules struct {
		MinLength int `json:"min_length"`
		MaxBytes  int `json:"max_bytes"`
		History   int
	}
	b.neighbour().want(http.StatusOK, "GET", "/api/auth/password-requirements", nil).read(t, &rules)
	if rules.MinLength != 12 || rules.MaxBytes != 72 || rules.History != 5 {
		t.Errorf("rules: %+v", rules)
	}
	for name, password := range map[string]string{
		"short": "Ab1!efghijk", "no capital": "abcdefgh-123", "no small": "ABCDEFGH-123", "no digit": "Abcdefgh-xyz", "no sign": "Abcdefgh1234",
		"the same": old, "73 bytes": "Aa1!" + strings.Repeat("x", 69), "the product": "Arasul-12345",
	} {
		change := map[string]any{"current_password": old, "new_password": password}
		if r := owner.moved().ask("POST", "/api/auth/change-password", change); r.status != http.StatusUnprocessableEntity {
			t.Errorf("a new password, %s: want 422: %s", name, r)
		}
	}
	owner.moved().changePassword(newPassword())
	owner.moved().want(http.StatusUnprocessableEntity, "POST", "/api/auth/change-password", map[string]any{"current_password": b.password(), "new_password": old})
	if program.in() || !owner.in() {
		t.Error("want a new password to end the other sessions, and them only")
	}
	if e := b.audited(owner, "password", "success"); e.Actor != "admin" || e.Address == "" {
		t.Errorf("the audit says %+v", e)
	}
	owner.moved().want(http.StatusNoContent, "POST", "/api/auth/logout", nil)
	if owner.in() {
		t.Error("still in after the logout")
	}
}

// Proves API, AUTH-7 and HEAL-5: a restart by the admin goes through the healer,
// which writes down whose it was and does not take it for a failure.
func TestTheAdminRestartsAServiceThroughTheHealer(t *testing.T) {
	b := takeGuarded(t)
	admin := b.admin()
	before := b.property(mdnsUnit, "MainPID")
	asked := time.Now()
	admin.want(http.StatusAccepted, "POST", "/api/services/mdns/restart", nil)
	eventually(t, 20*time.Second, func() error {
		if pid := b.property(mdnsUnit, "MainPID"); pid == before || pid == "0" {
			return fmt.Errorf("main process %s before, %s after", before, pid)
		}
		return nil
	})
	t.Logf("figure: restarted %s after it was asked for", time.Since(asked).Round(time.Millisecond))
	if e := b.audited(admin, "restart", "success"); e.Actor != "admin" || !strings.Contains(e.Subject+e.Detail, "mdns") || e.Address != admin.from.String() {
		t.Errorf("the audit says %+v", e)
	}
	eventually(t, 20*time.Second, func() error {
		out := b.run("arasul", "heal", "status", "--json", "--limit=20")
		if !strings.Contains(out, mdnsUnit) || !strings.Contains(out, "admin") {
			return fmt.Errorf("the healer does not tell of it: %s", out)
		}
		return nil
	})
	for _, name := range []string{"nothing", "sshd", "../sshd", "arasul-mdns.service%20sshd"} {
		r := admin.moved().ask("POST", "/api/services/"+url.PathEscape(name)+"/restart", nil)
		if r.status < 400 || r.status > 499 {
			t.Errorf("restarting %s: %s", name, r)
		}
	}
	b.allWell()
}

// Proves LOG-1 and API: the journal by unit, severity and time, followed and
// taken home.
func TestTheAdminReadsTheLogs(t *testing.T) {
	b := takeGuarded(t)
	admin := b.admin()
	type page struct {
		Entries []struct {
			Time                            time.Time
			Unit, Severity, Message, Cursor string
		}
		Next string
	}
	var newest, older page
	admin.want(http.StatusOK, "GET", "/api/logs?service=proxy&lines=1", nil).read(t, &newest)
	if len(newest.Entries) != 1 || newest.Entries[0].Unit != "arasul-proxy.service" {
		t.Fatalf("the last line of the proxy: %+v", newest)
	}
	admin.want(http.StatusOK, "GET", "/api/logs?service=proxy&lines=5&before="+url.QueryEscape(newest.Next), nil).read(t, &older)
	for _, e := range older.Entries {
		if e.Cursor == newest.Entries[0].Cursor || e.Time.After(newest.Entries[0].Time) {
			t.Errorf("not older: %+v", e)
		}
	}
	for _, query := range []string{"service=sshd", "service=../../etc", "severity=loud", "lines=0", "lines=1000000", "since=yesterday"} {
		if r := admin.moved().ask("GET", "/api/logs?"+query, nil); r.status != http.StatusUnprocessableEntity && r.status != http.StatusNotFound {
			t.Errorf("%s: %s", query, r)
		}
	}
	r := admin.moved().want(http.StatusOK, "GET", "/api/logs/download?service=proxy", nil)
	if !strings.HasPrefix(r.header.Get("Content-Type"), "text/plain") || !strings.HasPrefix(r.header.Get("Content-Disposition"), "attachment") || r.body == "" {
		t.Errorf("the download: %s", r)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	resp, err := admin.moved().client.Do(admin.request("GET", "/api/logs/stream?service=mdns", nil).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b.run("systemctl", "restart", mdnsUnit)
	for lines := bufio.NewScanner(resp.Body); ; {
		if !lines.Scan() {
			t.Fatalf("the stream of %s ended without a line: %v", resp.Status, lines.Err())
		}
		if strings.HasPrefix(lines.Text(), "data:") && strings.Contains(lines.Text(), mdnsUnit) {
			break
		}
	}
}

// Proves AUTH-6: who wants it shows nothing without a login.
func TestStatusForTheAdminOnly(t *testing.T) {
	b := takeGuarded(t)
	undo := b.set("status", `"admin"`)
	t.Cleanup(func() {
		undo()
		b.run("systemctl", "reload", dashboardUnit)
		b.allWell()
	})
	b.run("systemctl", "reload", dashboardUnit)
	eventually(t, 10*time.Second, func() error {
		if r := b.neighbour().ask("GET", "/api/system/status", nil); r.status != http.StatusUnauthorized {
			return fmt.Errorf("want 401: %s", r)
		}
		return nil
	})
	for _, path := range []string{"/metrics", "/api/metrics/live", "/api/services", "/api/self-healing/events"} {
		b.neighbour().want(http.StatusUnauthorized, "GET", path, nil)
	}
	b.neighbour().want(http.StatusOK, "GET", "/health", nil)
	b.neighbour().want(http.StatusOK, "GET", "/api/auth/status", nil)
	b.admin().want(http.StatusOK, "GET", "/api/system/status", nil)
	if out := b.run("arasul", "status"); !strings.Contains(out, "arasul-proxy") && !strings.HasPrefix(out, "OK") && !strings.HasPrefix(out, "WARNING") {
		t.Errorf("arasul status says\n%s", out)
	}
}

// Proves PROXY-3 and PKG-6: the sockets are systemd's, so a proxy that restarts
// refuses nobody.
func TestProxyRestartsUnderLoadAndRefusesNobody(t *testing.T) {
	b := takeGuarded(t)
	guests := b.visit()
	for range 5 {
		seen := guests.count() + 40
		b.run("systemctl", "restart", "arasul-proxy.service")
		eventually(t, 20*time.Second, func() error {
			if n := guests.count(); n < seen {
				return fmt.Errorf("%d requests", n)
			}
			return nil
		})
	}
	guests.stop()
	t.Logf("figure: 5 restarts of the proxy; %d requests meanwhile, %d asked twice, %d failed", guests.requests, guests.dropped, len(guests.failures))
	if len(guests.failures) > 0 {
		t.Errorf("these failed: %q", guests.failures)
	}
	if guests.refused > 0 {
		t.Errorf("%d connections were refused", guests.refused)
	}
	b.allWell()
}

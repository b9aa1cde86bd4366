//go:build machine

package proof

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// lookingForSecrets does all that has to do with secrets and then looks wherever
// somebody may look who must not know them.
func lookingForSecrets(t *testing.T, b *bed) {
	secrets := map[string]string{"the old password": b.password()}
	owner := b.admin()
	var said []string // by the API
	tell := func(r reply) reply { said = append(said, r.String()); return r }

	owner.changePassword(newPassword())
	secrets["the password"] = b.password()
	secrets["a session"] = owner.cookie(sessionCookie)
	secrets["a device"] = owner.cookie(deviceCookie)
	program := b.bearerClient()
	secrets["a token"] = program.bearer
	wrong := newPassword()
	secrets["a wrong password"] = wrong
	tell(b.neighbour().ask("POST", "/api/auth/login", credentials(wrong)))
	tell(b.neighbour().ask("POST", "/api/auth/login", `{"username":"admin","password":"`+wrong+`"`, "Content-Type", "application/json"))
	tell(b.neighbour().ask("POST", "/api/auth/login", map[string]any{"username": "admin", "password": []string{wrong}}))
	tell(owner.moved().ask("POST", "/api/auth/change-password", map[string]any{"current_password": wrong, "new_password": "short"}))
	var enrolled struct{ Secret string }
	owner.moved().want(http.StatusOK, "POST", "/api/auth/totp/enroll", map[string]any{"password": b.password()}).read(t, &enrolled)
	t.Cleanup(func() { b.run("arasul", "user", "totp-off") })
	secrets["a second factor"] = enrolled.Secret
	var confirmed struct {
		Codes []string `json:"recovery_codes"`
	}
	owner.moved().want(http.StatusOK, "POST", "/api/auth/totp/confirm", map[string]any{"code": oneTime(t, enrolled.Secret, 0)}).read(t, &confirmed)
	secrets["a recovery code"] = confirmed.Codes[0]
	for _, path := range []string{"/api/auth/me", "/api/auth/sessions", "/api/audit?limit=100", "/api/logs?lines=500", "/api/logs/download", "/api/services",
		"/api/certificates", "/api/system/info", "/api/system/network", "/metrics", "/api/auth/status", "/api/openapi.json", "/api/self-healing/events"} {
		tell(owner.moved().ask("GET", path, nil))
	}
	keys := strings.Fields(b.sh("ls -1 /var/lib/arasul/secrets/* /var/lib/arasul/ca/ca.key"))
	if len(keys) < 3 {
		t.Errorf("keys: %q", keys)
	}
	for _, key := range keys {
		secrets["the key "+key] = strings.TrimSpace(b.sh("base64 -w0 " + key))
		if mode := strings.TrimSpace(b.run("stat", "--format=%a", key)); mode != "600" && mode != "400" {
			t.Errorf("%s has the mode %s", key, mode)
		}
	}

	for name, secret := range secrets {
		if secret == "" {
			t.Errorf("%s is empty", name)
			continue
		}
		for _, answer := range said {
			if strings.Contains(answer, secret) {
				t.Errorf("%s is in an answer: %.300s", name, answer)
			}
		}
	}
	list := make([]string, 0, len(secrets))
	for _, secret := range secrets {
		list = append(list, secret)
	}
	slices.Sort(list)
	const needles = "/run/proof-needles"
	b.put(needles, []byte(strings.Join(list, "\n")+"\n"))
	defer b.run("rm", needles)
	for where, look := range map[string]string{
		"the journal":     "journalctl --no-pager --all --output=export",
		"log files":       "find /var/log/arasul -type f -exec cat {} +",
		"process lists":   "cat /proc/[0-9]*/cmdline | tr '\\0' '\\n'",
		"environments":    "cat /proc/[0-9]*/environ | tr '\\0' '\\n'",
		"files in /run":   "find /run/arasul /run/issue.d -type f -exec cat {} + 2>/dev/null",
		"configuration":   "find /etc/arasul -type f -exec cat {} +",
		"unit properties": "systemctl show 'arasul-*'",
		"the database":    "setpriv --reuid=arasul-postgres --regid=arasul-postgres --init-groups pg_dump --host=/run/arasul/postgres arasul",
	} {
		if found := b.sh("(" + look + ") 2>/dev/null | grep --text --fixed-strings --file=" + needles + " | cut -c-300 || true"); found != "" {
			t.Errorf("in %s: %s", where, found)
		}
	}
	if found := b.sh(`find / -xdev -type f \( -user arasul-dashboard -o -user arasul-proxy -o -user arasul-certs -o -path '/var/lib/arasul/secrets/*' \) -perm /o+r -print |
		xargs --no-run-if-empty grep --files-with-matches --text 'PRIVATE KEY' || true`); found != "" {
		t.Errorf("everybody can read the keys\n%s", found)
	}
}

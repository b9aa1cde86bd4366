//go:build box

package proof

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// lan runs a command of this host on the box's network, with a home of its own.
func (b *bed) lan(home string, args ...string) string {
	b.t.Helper()
	command := append([]string{b.script, "lan", "--name", b.name, "--", "env", "HOME=" + home}, args...)
	out, errOut, code := run(b.t, nil, 9*time.Minute, command...)
	if code != 0 {
		b.t.Fatalf("%s: exit status %d\n%s%s", strings.Join(args, " "), code, out, errOut)
	}
	return out
}

// visit is what a person sees who opens the page in a browser; see login.mjs.
type visit struct {
	Trouble, URL     string
	Error            string
	Protocol, Issuer string
	Led, Back        string
	Statuses         []int
	Complaints       []string
}

func (b *bed) visits(home string, args ...string) (v visit) {
	b.t.Helper()
	out := strings.TrimSpace(b.lan(home, append([]string{"node", "login.mjs", shots(b.t)}, args...)...))
	last := out[strings.LastIndex(out, "\n")+1:]
	if err := json.Unmarshal([]byte(last), &v); err != nil {
		b.t.Fatalf("%v in %s", err, out)
	}
	if v.Trouble != "" {
		b.t.Fatalf("%s at %s, see box-trouble.png; the browser complains: %q", v.Trouble, v.URL, v.Complaints)
	}
	return v
}

// trusts has browsers with that home trust the box's authority, and returns its
// certificate as DER.
func (b *bed) trusts(home string) []byte {
	b.t.Helper()
	file := filepath.Join(home, "ca.crt")
	b.lan(home, "curl", "--silent", "--show-error", "--fail", "--output", file, "http://arasul.local/ca.crt")
	der, err := os.ReadFile(file)
	if err != nil {
		b.t.Fatal(err)
	}
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		b.t.Fatal(err)
	}
	store := filepath.Join(home, ".pki", "nssdb")
	if err := os.MkdirAll(store, 0o700); err != nil {
		b.t.Fatal(err)
	}
	here(b.t, "certutil", "-d", "sql:"+store, "-N", "--empty-password")
	here(b.t, "certutil", "-d", "sql:"+store, "-A", "-n", "arasul", "-t", "C,,", "-i", file)
	return der
}

// fingerprint is what the owner compares: the same on the console and in the
// file, or somebody on the way has changed it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// Proves PROXY-2, AUTH-2 and UI: the owner, at another computer of the network,
// trusts the machine once and is never warned again; the first login, a new
// password, and out everywhere.
func TestNeighbourTrustsTheBoxAndLogsIn(t *testing.T) {
	b := theBox.take(t)
	b.well(2 * time.Minute)
	if v := b.visits(t.TempDir(), "warned"); !strings.Contains(v.Error, "ERR_CERT_AUTHORITY_INVALID") {
		t.Errorf("a browser that knows nothing of the authority: %q, want a warning", v.Error)
	}

	home := t.TempDir() // another: the browser has made a store in the first
	der := b.trusts(home)
	authority, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatalf("/ca.crt: %v", err)
	}
	if !authority.IsCA || !authority.PermittedDNSDomainsCritical || len(authority.PermittedDNSDomains) == 0 {
		t.Errorf("the authority may sign for everybody: %v", authority.PermittedDNSDomains)
	}
	pemText, explained, _ := b.try("arasul", "certs", "ca")
	shown := strings.ToUpper(strings.NewReplacer(":", "", " ", "", "\n", "").Replace(pemText + explained))
	if !strings.Contains(shown, fingerprint(der)) {
		t.Errorf("the console shows another fingerprint than %s:\n%s", fingerprint(der), shown)
	}
	v := b.visits(home, "owner", b.setupCode(), "Fjord-7-"+rand.Text(), "Brook-8-"+rand.Text())
	t.Logf("the browser says: %s, signed by %s", v.Protocol, v.Issuer)
	if v.Protocol != "TLS 1.3" || v.Issuer != authority.Subject.CommonName {
		t.Errorf("%s, signed by %q, want TLS 1.3 and %q", v.Protocol, v.Issuer, authority.Subject.CommonName)
	}
	if v.Led != "https://arasul.local/account" {
		t.Errorf("the first login led to %s", v.Led)
	}
	if v.Back != "https://arasul.local/" {
		t.Errorf("a login from a link of somebody else's led to %s", v.Back)
	}
	if len(v.Statuses) != 2 || v.Statuses[0] != 401 || v.Statuses[1] != 401 {
		t.Errorf("after signing out everywhere: %v, want 401 for both", v.Statuses)
	}
	if len(v.Complaints) > 0 {
		t.Errorf("the browser complains: %q", v.Complaints)
	}

	// The journal never learned any of it. It knows the code, which opens nothing any more.
	journal := []byte(b.run("journalctl", "--no-pager", "--all", "--boot", "--unit=arasul-*"))
	for _, word := range []string{"Fjord-7-", "Brook-8-"} {
		if bytes.Contains(journal, []byte(word)) {
			t.Errorf("the journal holds %q", word)
		}
	}
}

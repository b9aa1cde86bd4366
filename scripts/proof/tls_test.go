//go:build machine

package proof

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// Proves PROXY-2: the machine's own certificate is good for what it is called and
// where it is, and stays so.
func TestCertificateFollowsTheMachine(t *testing.T) {
	b := up(t, "machine", "t-tls", "--deb", deb(t))
	b.sh("curl --silent --fail http://localhost/ca.crt | openssl x509 -inform der >/root/ca.pem")
	root := b.sh("openssl x509 -in /root/ca.pem -noout -fingerprint -sha256")
	said := b.run("arasul", "certs", "show")
	if _, hex, _ := strings.Cut(strings.TrimSpace(root), "="); !strings.Contains(said, hex) {
		t.Fatalf("port 80 hands out %s, the machine knows\n%s", root, said)
	}
	// Whatever the answer: of the object store there is none here.
	trusted := func(host string) error {
		_, errOut, code := b.try("curl", "--silent", "--show-error", "--max-time", "5", "--cacert", "/root/ca.pem",
			"--connect-to", "::localhost:443", "https://"+host+"/health")
		if code != 0 {
			return fmt.Errorf("%s: %s", host, errOut)
		}
		return nil
	}
	for _, host := range []string{"arasul.local", "arasul-s3.local", "t-tls.local", "t-tls", "localhost", "127.0.0.1", "[::1]"} {
		if err := trusted(host); err != nil {
			t.Error(err)
		}
	}
	if trusted("arasul.example") == nil {
		t.Error("a name that is none of ours is vouched for")
	}
	for _, address := range []string{"10.99.88.77", "fd99::77"} {
		b.run("ip", "address", "add", address, "dev", "host0")
		host := address
		if strings.Contains(address, ":") {
			host = "[" + address + "]"
		}
		eventually(t, 30*time.Second, func() error { return trusted(host) })
	}
	b.sh(`printf '\n[proxy]\nhosts = ["workshop.local"]\n' >/etc/arasul/arasul.toml && systemctl reload arasul-proxy`)
	eventually(t, 10*time.Second, func() error { return trusted("workshop.local") })
	if after := b.sh("curl --silent --fail http://localhost/ca.crt | openssl x509 -inform der -noout -fingerprint -sha256"); after != root {
		t.Errorf("the root changed from %s to %s", root, after)
	}

	// Nobody but the signer sees the authority's key, nobody but the proxy the other.
	for path, users := range map[string]string{
		"/var/lib/arasul/ca/ca.key":          "arasul-certs",
		"/var/lib/arasul/tls/local/leaf.key": "arasul-certs arasul-proxy",
	} {
		got := b.sh("for u in $(getent passwd | sed -n 's/^\\(arasul[^:]*\\|nobody\\):.*/\\1/p'); do runuser -u $u -- test -r " + path + " && echo $u; done; true")
		if got := strings.Join(slices.Sorted(slices.Values(strings.Fields(got))), " "); got != users {
			t.Errorf("%s is readable by %q, want %q", path, got, users)
		}
	}
	if state, result := b.property("arasul-acme.service", "ActiveState"), b.property("arasul-acme.service", "Result"); state != "inactive" || result != "exec-condition" {
		t.Errorf("without a domain arasul-acme.service is %s with result %s", state, result)
	}
}

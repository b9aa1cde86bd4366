package araupdate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/arasul/arasul/pkg/araupdate"
	"github.com/arasul/arasul/pkg/dpkg"
)

// packages are described by dpkg-deb.
type packages struct{}

func (packages) Describe(ctx context.Context, path string) (name, version, arch string, err error) {
	f, err := dpkg.Client{}.Describe(ctx, path)
	return f.Package, f.Version, f.Architecture, err
}

// desk is a folder that somebody makes releases in.
type desk struct {
	t   *testing.T
	dir string
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	return &desk{t, t.TempDir()}
}

// path leads to a file of the desk; what is no file stays.
func (d *desk) path(arg string) string {
	if flag, file, ok := strings.Cut(arg, "=/"); ok {
		return flag + "=" + filepath.Join(d.dir, file)
	}
	if strings.HasPrefix(arg, "/") {
		return filepath.Join(d.dir, arg)
	}
	return arg
}

// try runs a command line, in which files of the desk begin with a slash, and
// wants the exit code.
func (d *desk) try(want int, line string) (stdout, stderr string) {
	d.t.Helper()
	var out, errOut bytes.Buffer
	args := strings.Fields(line)
	for i := range args {
		args[i] = d.path(args[i])
	}
	env := araupdate.Env{Stdout: &out, Stderr: &errOut, Packages: packages{}, Now: time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)}
	if code := araupdate.Run(d.t.Context(), env, args); code != want {
		d.t.Errorf("araupdate %s: exit code %d, want %d\n%s%s", line, code, want, &out, &errOut)
	}
	return out.String(), errOut.String()
}

func (d *desk) openssl(args ...string) {
	d.t.Helper()
	for i := range args {
		args[i] = d.path(args[i])
	}
	if out, err := exec.Command("openssl", args...).CombinedOutput(); err != nil {
		d.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func (d *desk) read(name string) []byte {
	d.t.Helper()
	text, err := os.ReadFile(d.path(name))
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

// deb makes a package with next to nothing in it.
func (d *desk) deb(name, version string) {
	d.t.Helper()
	root := filepath.Join(d.t.TempDir(), "root")
	control := "Package: arasul\nVersion: " + version + "\nArchitecture: amd64\nMaintainer: A <a@example.org>\nDescription: none\n"
	if err := os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "DEBIAN/control"), []byte(control), 0o644); err != nil {
		d.t.Fatal(err)
	}
	if out, err := exec.Command("dpkg-deb", "--root-owner-group", "--build", root, d.path(name)).CombinedOutput(); err != nil {
		d.t.Fatalf("%v\n%s", err, out)
	}
}

// Proves UPD-7, and the prototype's defect P1: a key, a release, a look at it, and what
// the tool has signed is what a machine accepts; the same input gives the same bytes.
func TestReleaseIsMadeAndLookedAt(t *testing.T) {
	d := newDesk(t)
	d.deb("/a.deb", "1.4.0")
	d.try(0, "keygen /key")
	if info, err := os.Stat(d.path("/key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the private key: %v, %v", info, err)
	}
	if _, said := d.try(1, "keygen /key"); !strings.Contains(said, "exists") {
		t.Errorf("once more into the same file: %s", said)
	}
	d.try(0, "build --deb /a.deb --sequence 14 --sign /key -o /a.araupdate")
	d.try(0, "build --deb /a.deb --sequence 14 --sign /key -o /again.araupdate")
	if !bytes.Equal(d.read("/a.araupdate"), d.read("/again.araupdate")) {
		t.Error("the same input gives other bytes")
	}
	d.try(0, "verify --key /key.pub /a.araupdate")
	out, _ := d.try(0, "--json inspect /a.araupdate")
	if !json.Valid([]byte(out)) || !strings.Contains(out, `"1.4.0"`) {
		t.Errorf("inspect: %s", out)
	}
	d.deb("/b.deb", "1.5.0")
	d.try(0, "build --deb /b.deb --sequence 15 --sign /key -o /b.araupdate")
	d.try(0, "diff /a.araupdate /again.araupdate")
	if out, _ := d.try(1, "diff /a.araupdate /b.araupdate"); !strings.Contains(out, "1.5.0") || !strings.Contains(out, "15") {
		t.Errorf("diff: %s", out)
	}
}

// Proves UPD-7: keys that lie elsewhere sign what tbs prints, and attach finds out
// how.
func TestSignaturesMadeByOpenssl(t *testing.T) {
	d := newDesk(t)
	d.deb("/a.deb", "1.4.0")
	d.openssl("genpkey", "-algorithm", "ed25519", "-out", "/ed")
	d.openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "/ec")
	d.openssl("genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:3072", "-out", "/rsa")
	for name, sign := range map[string][]string{
		"/ed":  {"pkeyutl", "-sign", "-inkey", "/ed", "-rawin", "-in", "/tbs", "-out", "/sig"},
		"/ec":  {"dgst", "-sha256", "-sign", "/ec", "-out", "/sig", "/tbs"},
		"/rsa": {"dgst", "-sha256", "-sign", "/rsa", "-out", "/sig", "/tbs"},
		"/pss": {"dgst", "-sha256", "-sign", "/rsa", "-sigopt", "rsa_padding_mode:pss", "-out", "/sig", "/tbs"},
	} {
		key := strings.Replace(name, "pss", "rsa", 1)
		d.openssl("pkey", "-in", key, "-pubout", "-out", "/pub")
		d.try(0, "build --deb /a.deb --sequence 14 -o /a.araupdate")
		d.try(10, "verify --key /pub /a.araupdate")
		d.try(0, "tbs /a.araupdate -o /tbs")
		d.openssl(sign...)
		d.try(0, "attach --key /pub --signature /sig /a.araupdate")
		d.try(0, "verify --key /pub /a.araupdate")
		if err := os.WriteFile(d.path("/sig"), bytes.Repeat([]byte{1}, 64), 0o600); err != nil {
			t.Fatal(err)
		}
		d.try(10, "attach --key /pub --signature /sig /a.araupdate")
	}
}

// Proves UPD-2: new keys are vouched for by the old; an old one is taken away.
func TestKeysAreReplaced(t *testing.T) {
	d := newDesk(t)
	d.deb("/a.deb", "1.4.0")
	d.try(0, "keygen /old")
	d.try(0, "keygen --kind ecdsa /new")
	d.try(0, "build --deb /a.deb --sequence 14 --sign /old -o /a.araupdate")
	d.try(0, "root --release-key /old.pub --root-key /old.pub -o /root1")
	d.try(0, "sign --key /old /root1")
	d.try(0, "verify --root /root1 /a.araupdate")
	id := strings.TrimSpace(d.keyID("/old.pub"))
	d.try(0, "root --from /root1 --release-key /new.pub --revoke-key "+id+" -o /root2")
	d.try(0, "sign --key /old /root2")
	if _, said := d.try(10, "verify --root /root2 /a.araupdate"); !strings.Contains(said, "bad-signature") {
		t.Errorf("signed by a key of before: %s", said)
	}
	d.try(0, "sign --key /new /a.araupdate -o /b.araupdate")
	d.try(0, "verify --root /root2 /b.araupdate")
	if out, _ := d.try(0, "plain /root2"); !strings.Contains(out, `"version": 2`) {
		t.Errorf("plain: %s", out)
	}
}

// keyID is a key's ID as openssl and coreutils find it.
func (d *desk) keyID(pub string) string {
	d.t.Helper()
	out, err := exec.Command("sh", "-c", "openssl pkey -pubin -in "+d.path(pub)+" -outform DER | sha256sum | cut -d' ' -f1").Output()
	if err != nil {
		d.t.Fatal(err)
	}
	return string(out)
}

func TestRubbishIsRefused(t *testing.T) {
	d := newDesk(t)
	d.deb("/a.deb", "1.4.0")
	d.try(0, "keygen /key")
	d.try(0, "build --deb /a.deb --sequence 14 --sign /key -o /a.araupdate")
	whole := d.read("/a.araupdate")
	damaged := bytes.Clone(whole)
	damaged[len(damaged)-1] ^= 1
	for name, data := range map[string][]byte{"/damaged": damaged, "/short": whole[:len(whole)-1], "/long": append(bytes.Clone(whole), 0)} {
		if err := os.WriteFile(d.path(name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		d.try(11, "verify --key /key.pub "+name)
	}
	for line, want := range map[string]int{
		"verify --key /key.pub /missing":                             1,
		"verify /a.araupdate":                                        2,
		"verify --key /key /a.araupdate":                             1, // a private one
		"inspect /a.deb":                                             11,
		"build --deb /a.araupdate --sequence 1 -o /x":                1,
		"build --deb /a.deb --sequence 0 -o /x":                      11,
		"build --deb /a.deb --sequence 1 --image wiki=/a.deb -o /x":  1,
		"build --deb /a.deb --sequence 1 --image n8n=/a.deb -o /x":   1,
		"build --deb /a.deb --sequence 1 --floor 2 -o /x":            11,
		"build --deb /a.deb --sequence 1 --data-class nothing -o /x": 2,
		"bake": 2,
	} {
		if _, said := d.try(want, line); said == "" {
			t.Errorf("%s: nothing is said", line)
		}
		if _, err := os.Stat(d.path("/x")); err == nil {
			t.Fatalf("%s left a file", line)
		}
	}
}

package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
)

func unpack(t *testing.T, packed []byte) map[string]string {
	t.Helper()
	zip, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for r := tar.NewReader(zip); ; {
		head, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if head.Mode != 0o600 {
			t.Errorf("%s has mode %o", head.Name, head.Mode)
		}
		files[head.Name] = string(text)
	}
}

// Proves AUTH-7: no secret of the machine leaves it in a bundle. Rows are the
// ways in which one may have come into a log.
func TestNoSecretIsInABundle(t *testing.T) {
	binary := []byte{0xfb, 0xff, 0x01, 0x80, 0xfe, 0x3e, 0x77, 0x0a, 0x90, 0x11, 0xfa, 0x20, 0x0d, 0x41, 0x42, 0x43, 0xfb, 0xef, 0x99, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x80, 0x90, 0xa0, 0xb0, 0xc0, 0xd0}
	text := []byte("Geheim/und+sehr=lang0123456789abcdefgh")
	unknown := "Unbekannt-4711-lang"
	rows := []string{
		"key " + string(text) + " in a line", "raw " + string(binary), hex.EncodeToString(binary), strings.ToUpper(hex.EncodeToString(binary)), hex.EncodeToString(text),
		base64.StdEncoding.EncodeToString(binary), base64.RawURLEncoding.EncodeToString(binary), base64.StdEncoding.EncodeToString(append([]byte("u:"), text...)),
		"https://x.example/?key=" + url.QueryEscape(string(text)),

		"password=" + unknown, "Password: " + unknown, `{"admin_password": "` + unknown + `"}`, "MINIO_ROOT_PASSWORD=" + unknown, "DB_POSTGRESDB_PASSWORD='" + unknown + " und mehr'",
		"postgres://user:" + unknown + "@db.example/x", "host=h password=" + unknown + " user=u", "Authorization: Bearer " + unknown, "bearer " + unknown,
		"Cookie: session=" + unknown, "X-N8N-API-KEY: " + unknown, "api_key = \"" + unknown + "\"", "N8N_ENCRYPTION_KEY=" + unknown, "--secret=" + unknown,
		"-----BEGIN EC PRIVATE KEY-----\n" + unknown + "\n-----END EC PRIVATE KEY-----", "-----BEGIN PRIVATE KEY-----\n" + unknown + "\n-----END PRIVATE KEY-----",
	}
	var sources []Source
	for i, row := range rows {
		sources = append(sources, Source{fmt.Sprintf("%02d.txt", i), func(context.Context) ([]byte, error) { return []byte("before " + row + "\nafter\n"), nil }})
	}
	sources = append(sources, Source{"error.txt", func(context.Context) ([]byte, error) { return nil, fmt.Errorf("dialing with token=%s", unknown) }})
	var packed bytes.Buffer
	if err := Write(t.Context(), &packed, "box", sources, NewHider(binary, text, []byte("short"))); err != nil {
		t.Fatal(err)
	}
	files := unpack(t, packed.Bytes())
	if len(files) != len(sources) {
		t.Fatalf("%d files of %d", len(files), len(sources))
	}
	for name, got := range files {
		for _, secret := range []string{string(text), string(binary), unknown, "4711", hex.EncodeToString(text), base64.StdEncoding.EncodeToString(binary)[:20], "Z2VoZWlt", "HZWhlaW0vdW5k"} {
			if strings.Contains(strings.ToLower(got), strings.ToLower(secret)) {
				t.Errorf("%s: %q is in %q", name, secret, got)
			}
		}
		if !strings.Contains(got, Hidden) || name != "box/error.txt" && !strings.Contains(got, "after") {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestWhatIsNoSecretStays(t *testing.T) {
	for _, row := range []string{
		"arasul-secrets.service  loaded active", "the password was changed by admin", "tokens_per_second 12", "12 tokens in 3 s", "session ended", "/etc/arasul/tls/key.pem",
		"sha256:71ac09f1aa", "token expired", "https://x.example:443/a@b", "a short word", "Key: value",
	} {
		if got := string(NewHider([]byte("short")).Clean([]byte(row))); got != row {
			t.Errorf("%q became %q", row, got)
		}
	}
}

func TestBundleIsBounded(t *testing.T) {
	huge := Source{"huge.txt", func(context.Context) ([]byte, error) {
		return append(bytes.Repeat([]byte("0123456789abcde\n"), 2*maxSource/16), "the end\n"...), nil
	}}
	var sources []Source
	for i := range 14 {
		sources = append(sources, Source{fmt.Sprintf("%d.txt", i), huge.Read})
	}
	var packed bytes.Buffer
	if err := Write(t.Context(), &packed, "box", sources, NewHider()); err != nil {
		t.Fatal(err)
	}
	files, whole, all := unpack(t, packed.Bytes()), 0, 0
	for name, text := range files {
		all += len(text)
		if len(text) > maxSource {
			t.Errorf("%s has %d bytes", name, len(text))
		}
		if strings.HasSuffix(text, "the end\n") {
			whole++
		}
	}
	if all > maxAll+1024 || whole < 11 || len(files) != 14 {
		t.Errorf("%d files of %d bytes, %d of them with their end", len(files), all, whole)
	}
}

func TestWhatFailsSaysSoAndTheRestIsThere(t *testing.T) {
	var packed bytes.Buffer
	err := Write(t.Context(), &packed, "box", []Source{
		Command("gone.txt", "/no/such/program"), Command("no.txt", "no-such-program-here"), Command("fails.txt", "sh", "-c", "echo said; echo wrong >&2; exit 3"),
		Command("fine.txt", "echo", "fine"),
	}, NewHider())
	if err != nil {
		t.Fatal(err)
	}
	files := unpack(t, packed.Bytes())
	for name, want := range map[string]string{"gone.txt": "no such file", "no.txt": "not installed here", "fails.txt": "exit status 3", "fine.txt": "fine\n"} {
		if got := files["box/"+name]; !strings.Contains(got, want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := files["box/fails.txt"]; !strings.Contains(got, "said") || !strings.Contains(got, "wrong") {
		t.Errorf("%q", got)
	}
}

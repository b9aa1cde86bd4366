package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Proves AUTH-7: each row is a way to write a password that must not be seen.
// Where it is unclear what the password is, nothing is shown, and the file is
// refused.
func TestPasswordOfTheDatabaseIsNeverShown(t *testing.T) {
	for _, tt := range []struct {
		dsn, want string // shown; empty when nothing can be
	}{
		{"postgres://u:geheim@db.example:5432/arasul?sslmode=require", "postgres://u:xxxxx@db.example:5432/arasul?sslmode=require"},
		{"postgresql://u:geheim@h1:1,h2:2/arasul", "postgresql://u:xxxxx@h1:1,h2:2/arasul"},
		{"postgres://u:ge%40heim%2F@h/arasul", "postgres://u:xxxxx@h/arasul"},
		{"postgres://u:geheim:heim@h/arasul", "postgres://u:xxxxx@h/arasul"},
		{"postgres://u@h/arasul?password=geheim", "postgres://u@h/arasul?password=xxxxx"},
		{"postgres://u@h/arasul?sslmode=require&PASSWORD=geheim&sslpassword=heim", "postgres://u@h/arasul?sslmode=require&PASSWORD=xxxxx&sslpassword=xxxxx"},
		{"postgres://u@h/arasul?sslkey=/etc/key", "postgres://u@h/arasul?sslkey=/etc/key"},
		{"postgres://elsewhere/", "postgres://elsewhere/"},
		{"host=h password=geheim dbname=a", "host=h password=xxxxx dbname=a"},
		{"host=h password = 'geheim heim' dbname=a", "host=h password=xxxxx dbname=a"},
		{`password='ge\'heim' host=h`, "password=xxxxx host=h"},
		{`password=ge\ heim host=h`, "password=xxxxx host=h"},
		{"host=h sslpassword=geheim", "host=h sslpassword=xxxxx"},
		{"host=/run/x user=a", "host=/run/x user=a"},
		{"", ""},

		{"postgres://u:geheim/heim@h/arasul", ""},
		{"postgres://u:geheim?heim@h/arasul", ""},
		{"postgres://u:geheim#heim@h/arasul", ""},
		{"postgres://u:ge@heim@h/arasul", ""},
		{"postgres://u:geheim%zz@h/arasul", ""},
		{"postgres://u:geheim heim@h/arasul", ""},
		{"postgres://u:geheim\x00@h/arasul", ""},
		{"mysql://u:geheim@h/arasul?a=b", ""},
		{"u:geheim@h", ""},
		{"geheim", ""},
		{"host=h password='geheim", ""},
		{"host=h password=ge heim geheim", ""},
		{"geheim heim=x", ""},
	} {
		d := Database{DSN: tt.dsn}
		c := Defaults()
		c.Database = d
		text, err := c.Redacted().TOML()
		if err != nil {
			t.Fatal(err)
		}
		for how, shown := range map[string]string{
			"as text":   d.String(),
			"%v":        fmt.Sprintf("%v %+v %s", d, d, d),
			"%#v":       fmt.Sprintf("%#v", d),
			"inside":    fmt.Sprintf("%v", *c),
			"in a log":  logged(d),
			"as TOML":   string(text),
			"explained": d.Explain(errors.New("cannot parse " + tt.dsn)),
		} {
			if strings.Contains(shown, "heim") {
				t.Errorf("%q, %s, is shown as %s", tt.dsn, how, shown)
			}
		}
		if tt.want != "" && d.String() != tt.want {
			t.Errorf("%q is shown as %s, want %s", tt.dsn, d, tt.want)
		}
		var refused string
		c.Validate(func(key, problem string) { refused = key + ": " + problem })
		if unclear := tt.want == "" && tt.dsn != ""; unclear != strings.HasPrefix(refused, "database.dsn: it is n") || strings.Contains(refused, "heim") {
			t.Errorf("%q is refused with %q", tt.dsn, refused)
		}
	}
}

func logged(d Database) string {
	var b strings.Builder
	slog.New(slog.NewTextHandler(&b, nil)).Info("opening", "dsn", d)
	return b.String()
}

// What we take apart is what PostgreSQL's driver does: a password that it finds
// is one that we hide.
func TestDriverFindsNoPasswordThatWeShow(t *testing.T) {
	for r := rune(1); r < 0x100; r++ {
		for _, form := range []string{"postgres://u:Zq%s7Xw@h/a", "host=h password=Zq%s7Xw", "host=h password='Zq%s7Xw' user=b", "postgres://u@h/a?password=Zq%s7Xw&user=b"} {
			dsn := fmt.Sprintf(form, string(r))
			shown := Database{DSN: dsn}.String()
			conf, err := pgx.ParseConfig(dsn)
			if err == nil && conf.Password != "" && strings.Contains(shown, conf.Password) {
				t.Errorf("%q is shown as %q", dsn, shown)
			}
			if strings.Contains(shown, "7Xw") && (err != nil || strings.Contains(conf.Password, "7Xw")) {
				t.Errorf("%q is shown as %q (%v)", dsn, shown, err)
			}
		}
	}
}

// Proves DB-2: the password need not be in a file that everybody can read.
func TestCredentialStandsAboveTheFile(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	file := filepath.Join(dir, "arasul.toml")
	if err := os.WriteFile(file, []byte("[database]\ndsn = \"host=file\"\n[metrics]\nflush = \"1m\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ credential, want, problem string }{
		{"", "host=file", ""},
		{"\n", "host=file", ""},
		{"postgres://u:geheim@h/a\n", "postgres://u:geheim@h/a", ""},
		{"postgres://u:geheim/heim@h/a", "host=file", Credential + ": database.dsn: it is no URL"},
		{strings.Repeat("a", maxDSN+1), "host=file", "over 4096 bytes"},
	} {
		if err := os.WriteFile(filepath.Join(dir, Credential), []byte(tt.credential), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := Load(file)
		if c.Database.DSN != tt.want || c.Metrics.Flush.String() != "1m" {
			t.Errorf("%q: %v", tt.credential, c.Database)
		}
		if (err == nil) != (tt.problem == "") || err != nil && (!strings.Contains(err.Error(), tt.problem) || strings.Contains(err.Error(), "heim")) {
			t.Errorf("%q: error %v", tt.credential, err)
		}
		if err != nil && (!Concerns(err, "database") || Concerns(err, "metrics")) {
			t.Errorf("%v does not concern the database alone", err)
		}
	}
	if err := os.Remove(filepath.Join(dir, Credential)); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(file); err != nil || c.Database.DSN != "host=file" {
		t.Errorf("without: %v, %v", c.Database, err)
	}
}

func TestMistakesInTheFileDoNotEchoThePassword(t *testing.T) {
	for _, text := range []string{
		"[database]\ndsn = \"postgres://u:geheim@h\n",
		"[database]\ndsn = postgres://u:geheim@h\n",
		"[database]\ndsn = [\"postgres://u:geheim@h\"]\n",
		"[database]\ndsn = \"postgres://u:geheim@h\" geheim\n",
		"[database]\npassword = \"geheim\"\n",
	} {
		path := filepath.Join(t.TempDir(), "arasul.toml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

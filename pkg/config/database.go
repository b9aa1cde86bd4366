package config

import (
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// Database says where PostgreSQL is. Printed or logged it shows no password.
type Database struct {
	// DSN names another PostgreSQL server, as a URL or key=value string; empty
	// means the machine's own, over its unix socket.
	DSN string `toml:"dsn"`
}

// Credential is the systemd credential that, when a unit loads it, is the DSN
// whatever the file says. Other than the file it can be read by nobody else.
const Credential = "database-dsn"

// maxDSN bounds the credential.
const maxDSN = 4 << 10

// hidden stands for what is not shown.
const hidden = "xxxxx"

// piece is a part of a DSN.
type piece struct {
	text   string
	secret bool
}

// pieces takes a DSN apart. It fails when it cannot be sure which parts are
// secret: of such a DSN nothing may be shown.
func (d Database) pieces() ([]piece, error) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if rest, ok := strings.CutPrefix(d.DSN, scheme); ok {
			return piecesOfURL(scheme, rest)
		}
	}
	return piecesOfPairs(d.DSN)
}

var (
	errURL   = errors.New("it is no URL of the form postgres://USER:PASSWORD@HOST:PORT/NAME; in USER and PASSWORD % is written as %25, / as %2F, @ as %40, : as %3A, ? as %3F, # as %23")
	errPairs = errors.New("it is neither a URL (postgres://…) nor pairs such as host=db.example dbname=arasul")
)

func piecesOfURL(scheme, rest string) ([]piece, error) {
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?#"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	all := []piece{{scheme, false}}
	user, hosts, found := strings.Cut(authority, "@")
	if !found {
		user, hosts = "", authority
	}
	// A / or @ in a password ends it too early, and the rest of it looks like
	// something else.
	if strings.Contains(hosts, "@") || strings.ContainsAny(tail, "@#") {
		return nil, errURL
	}
	if _, err := url.Parse(scheme + user + "@host" + tail); err != nil {
		return nil, errURL
	}
	if name, password, ok := strings.Cut(user, ":"); ok {
		all = append(all, piece{name + ":", false}, piece{password, true}, piece{"@", false})
	} else if found {
		all = append(all, piece{user + "@", false})
	}
	path, query, _ := strings.Cut(tail, "?")
	all = append(all, piece{hosts + path, false})
	for i, pair := range strings.Split(query, "&") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, errURL
		}
		sign := "&"
		if i == 0 {
			sign = "?"
		}
		all = append(all, piece{sign + key + "=", false}, piece{value, secretKey(key)})
	}
	return all, nil
}

const blanks = " \t\n\r\v\f"

// piecesOfPairs reads key=value, with values in single quotes where they have
// blanks, and a backslash ahead of what would end them.
func piecesOfPairs(s string) (all []piece, err error) {
	for s = strings.TrimLeft(s, blanks); s != ""; s = strings.TrimLeft(s, blanks) {
		key, rest, ok := strings.Cut(s, "=")
		key = strings.TrimRight(key, blanks)
		if !ok || key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz_") != "" {
			return nil, errPairs
		}
		rest = strings.TrimLeft(rest, blanks)
		quoted := strings.HasPrefix(rest, "'")
		end := 0
		if quoted {
			end = 1
		}
		for ; end < len(rest); end++ {
			if rest[end] == '\\' {
				end++
			} else if quoted && rest[end] == '\'' || !quoted && strings.IndexByte(blanks, rest[end]) >= 0 {
				break
			}
		}
		if quoted {
			end++ // with the quote
		}
		if quoted && end > len(rest) {
			return nil, errPairs
		}
		end = min(end, len(rest))
		if len(all) > 0 {
			key = " " + key
		}
		all = append(all, piece{key + "=", false}, piece{rest[:end], secretKey(key)})
		s = rest[end:]
	}
	return all, nil
}

// secretKey says whether the value of a key must not be shown. An sslkey is a
// path.
func secretKey(key string) bool {
	key = strings.ToLower(key)
	return strings.Contains(key, "password") || strings.Contains(key, "secret") || strings.HasSuffix(key, "_key")
}

// String is the DSN without passwords.
func (d Database) String() string {
	all, err := d.pieces()
	if err != nil {
		return "(not shown: " + err.Error() + ")"
	}
	var b strings.Builder
	for _, p := range all {
		if p.secret {
			p.text = hidden
		}
		b.WriteString(p.text)
	}
	return b.String()
}

// GoString keeps %#v from showing more.
func (d Database) GoString() string { return d.String() }

// LogValue implements slog.LogValuer.
func (d Database) LogValue() slog.Value { return slog.StringValue(d.String()) }

// Explain is what an error about the DSN says, without the passwords in it; of
// one that cannot be taken apart only that it is wrong.
func (d Database) Explain(err error) string {
	all, unclear := d.pieces()
	if unclear != nil {
		return unclear.Error()
	}
	text := err.Error()
	for _, p := range all {
		secret := strings.Trim(p.text, "'")
		if !p.secret || secret == "" {
			continue
		}
		text = strings.ReplaceAll(text, secret, hidden)
		if plain, err := url.QueryUnescape(secret); err == nil && plain != "" {
			text = strings.ReplaceAll(text, plain, hidden)
		}
	}
	return text
}

// Redacted is c without passwords, for people to see.
func (c *Config) Redacted() *Config {
	shown := *c
	if shown.Database.DSN != "" {
		shown.Database.DSN = shown.Database.String()
	}
	return &shown
}

// credential puts the DSN that systemd has handed over into c.
func (c *Config) credential() error {
	dir := os.Getenv("CREDENTIALS_DIRECTORY")
	if dir == "" {
		return nil
	}
	path := filepath.Join(dir, Credential)
	f, err := os.Open(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return Problem{File: path, Key: "database.dsn", Text: err.Error()}
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxDSN+1))
	d := Database{DSN: strings.TrimSpace(string(text))}
	_, unclear := d.pieces()
	switch {
	case err != nil:
		return Problem{File: path, Key: "database.dsn", Text: err.Error()}
	case len(text) > maxDSN:
		return Problem{File: path, Key: "database.dsn", Text: "it is over 4096 bytes"}
	case unclear != nil:
		return Problem{File: path, Key: "database.dsn", Text: unclear.Error()}
	case d.DSN != "":
		c.Database = d
	}
	return nil
}

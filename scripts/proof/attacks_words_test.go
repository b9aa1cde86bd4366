//go:build machine

package proof

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// logInjection tries to write a line of its own into the journal, or to paint
// the terminal of who reads it.
func logInjection(t *testing.T, b *bed) {
	mark := "injected-" + rand.Text()
	line := "x\n" + mark + " sshd[1]: Accepted password for root\r\n" + mark + "\x1b[2J\u2028" + mark + "\x00"
	b.neighbour().ask("POST", "/api/auth/login", map[string]any{"username": line, "password": line, "totp": line})
	b.neighbour().ask("POST", "/api/auth/setup", map[string]any{"code": line, "password": line})
	b.neighbour().ask("GET", "/api/services/"+url.PathEscape(line), nil)
	b.neighbour().ask("GET", "/n8n/"+url.PathEscape(line), nil)
	b.neighbour().ask("GET", "/"+url.PathEscape(line)+"?"+url.QueryEscape(line), nil)
	b.neighbour().raw(t, "GET / HTTP/1.1\r\nHost: "+mark+"\x1b[2J\r\nUser-Agent: x\x1b[2J"+mark+"\r\n\r\n")
	b.neighbour().raw(t, "GET /\x00"+mark+" HTTP/1.1\r\nHost: arasul.local\r\n\r\n")
	b.neighbour().raw(t, mark+"\r\n\r\n")
	admin := b.admin()
	admin.moved().ask("GET", "/api/logs?service="+url.QueryEscape(line), nil)
	admin.moved().ask("POST", "/api/services/"+url.PathEscape(line)+"/restart", nil)
	admin.moved().ask("GET", "/api/auth/me", nil, "User-Agent", "x\t"+mark)

	for record := range strings.Lines(b.run("journalctl", "--no-pager", "--all", "--output=json", "--unit=arasul-*", "--since=-5min")) {
		if !strings.Contains(record, mark) {
			continue
		}
		var entry struct {
			Message any    `json:"MESSAGE"` // a list of bytes when it is no text
			Unit    string `json:"_SYSTEMD_UNIT"`
		}
		if err := decode(record, &entry); err != nil {
			t.Fatal(err)
		}
		message, isText := entry.Message.(string)
		if !isText || strings.HasPrefix(message, mark) || strings.ContainsAny(message, "\n\r\x1b\x00\u2028") {
			t.Errorf("%s wrote what it was told: %q", entry.Unit, entry.Message)
		}
	}
	// The audit keeps it and shows it as what it is: a text.
	r := admin.moved().want(http.StatusOK, "GET", "/api/audit?limit=100", nil)
	if strings.ContainsAny(r.body, "\x1b\x00") || !json.Valid([]byte(r.body)) {
		t.Errorf("the audit repeats control characters: %.500q", r.body)
	}
	if out := b.run("arasul", "status"); strings.Contains(out, mark) {
		t.Errorf("arasul status says\n%s", out)
	}
}

// openapi is the API's own description, as far as it is needed here.
type openapi struct {
	Paths map[string]map[string]struct {
		Parameters []struct{ Name, In string }
		Body       struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		} `json:"requestBody"`
	}
	Components struct {
		Schemas map[string]struct {
			Properties map[string]struct{ Type any }
		}
	}
}

// sqlInEveryParameter asks for all that the API describes.
func sqlInEveryParameter(t *testing.T, b *bed) {
	tables := func() string {
		return b.sql("SELECT string_agg(tablename, ' ' ORDER BY tablename) FROM pg_tables WHERE schemaname = 'public' AND tablename NOT LIKE 'samples_%'")
	}
	before := tables()
	client := b.bearerClient()
	var api openapi
	client.want(http.StatusOK, "GET", "/api/openapi.json", nil).read(t, &api)
	asked := 0
	for _, words := range []string{"'", "' OR '1'='1", "1; SELECT pg_sleep(60)--", "'||pg_sleep(60)||'", "1) UNION SELECT password_hash FROM admin_users--",
		"'; DROP TABLE audit_events;--", "\\'; DROP TABLE admin_users;--", "$$", "%00", "{}", "99999999999999999999", "-1"} {
		for path, operations := range api.Paths {
			for method, operation := range operations {
				target, query := path, url.Values{}
				for _, p := range operation.Parameters {
					switch p.In {
					case "path":
						target = strings.ReplaceAll(target, "{"+p.Name+"}", url.PathEscape(words))
					case "query":
						query.Set(p.Name, words)
					}
				}
				var body any
				for _, c := range operation.Body.Content {
					fields := map[string]any{}
					for name := range api.Components.Schemas[strings.TrimPrefix(c.Schema.Ref, "#/components/schemas/")].Properties {
						if !strings.HasPrefix(name, "$") {
							fields[name] = words
						}
					}
					body = fields
				}
				if (len(operation.Parameters) == 0 && body == nil) || strings.Contains(path, "logout") {
					continue // there is nothing to put it into, and the session is still needed
				}
				asked++
				client.injected(t, strings.ToUpper(method), target+"?"+query.Encode(), body)
			}
		}
		b.neighbour().ask("POST", "/api/auth/login", map[string]any{"username": words, "password": words}, "User-Agent", words, "X-Forwarded-For", words)
		b.neighbour().want(http.StatusUnauthorized, "GET", "/api/auth/me", nil, "Authorization", "Bearer "+words)
	}
	t.Logf("figure: %d requests with SQL in them", asked)
	if asked < 100 {
		t.Error("the description names too little")
	}
	if after := tables(); after != before {
		t.Errorf("tables before: %s\nafter: %s", before, after)
	}
	if !client.in() {
		t.Error("the session is gone")
	}
}

// injected asks and looks for signs that a database took words for more.
func (v *visitor) injected(t *testing.T, method, target string, body any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
	defer cancel()
	elsewhere := v.moved()
	began := time.Now()
	resp, err := elsewhere.client.Do(elsewhere.request(method, target, body).WithContext(ctx))
	if err != nil {
		t.Errorf("%s %s: %v", method, target, err)
		return
	}
	defer resp.Body.Close()
	failed := resp.StatusCode >= 500
	if strings.HasPrefix(target, "/api/embeddings") || strings.HasPrefix(target, "/api/llm/") {
		failed = failed && resp.StatusCode != http.StatusServiceUnavailable // there are no models here
	}
	if took := time.Since(began); failed || took > 30*time.Second { // hashing may take long, sleeping longer
		t.Errorf("%s %s: %s after %s", method, target, resp.Status, took)
	}
	lines := bufio.NewScanner(resp.Body)
	for range 50 { // of a stream, the beginning
		if resp.Header.Get("Content-Type") == "text/event-stream" || !lines.Scan() {
			return
		}
		for _, sign := range []string{"SQLSTATE", "syntax error", "pq:", "pgx", "$2a$", "password_hash"} {
			if strings.Contains(lines.Text(), sign) && !strings.Contains(target, sign) && !strings.Contains(fmt.Sprint(body), sign) {
				t.Errorf("%s %s says %q", method, target, lines.Text())
			}
		}
	}
}

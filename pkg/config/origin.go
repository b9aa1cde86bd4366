package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Origins says for each dotted key where its value comes from, as file:line.
// A key that is not in it has its default. Settings may be empty.
func Origins(settings, path string) map[string]string {
	from := map[string]string{}
	for _, file := range []string{settings, path} { // the later one wins
		if file == "" {
			continue
		}
		data, err := readBounded(file)
		if err != nil {
			continue // Load has said so
		}
		for key, line := range keyLines(data) {
			from[key] = fmt.Sprintf("%s:%d", file, line)
		}
	}
	if dir := os.Getenv("CREDENTIALS_DIRECTORY"); dir != "" {
		if _, err := os.Stat(filepath.Join(dir, Credential)); err == nil {
			from["database.dsn"] = "credential " + Credential
		}
	}
	return from
}

// Annotated is the text of [Config.TOML] with a comment after each value that is
// not a default, which says where it comes from.
func Annotated(text []byte, from map[string]string) []byte {
	lines := bytes.Split(text, []byte("\n"))
	for key, n := range keyLines(text) {
		origin := from[key]
		if origin == "" || n > len(lines) || !strings.Contains(string(lines[n-1]), "=") {
			continue
		}
		lines[n-1] = append(lines[n-1], "  # "+origin...)
	}
	return bytes.Join(lines, []byte("\n"))
}

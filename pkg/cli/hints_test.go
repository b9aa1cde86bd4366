package cli

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	"github.com/alecthomas/kong"
)

var (
	told  = regexp.MustCompile(`\barasul ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?`)
	sudo  = regexp.MustCompile(`\bsudo arasul .*`)
	prose = map[string]bool{"how": true, "provision": true, "whenever": true} // after "arasul", in a string that names no command
)

// Whoever is told to type a command can: each that our programs, the page and the
// documents name exists.
func TestCommandsThatPeopleAreToldToTypeExist(t *testing.T) {
	k, err := kong.New(&commands{}, kong.Vars{"version": "", "config": ""})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, text := range texts(t, "../../pkg", "../../cmd", "../../web/src", "../../docs", "../../README.md") {
		for _, m := range told.FindAllStringSubmatch(text, -1) {
			n++
			if !prose[m[1]] && !exists(k.Model.Node, m[1:]) {
				t.Errorf("there is no such command: %q, in %q", m[0], text)
			}
		}
	}
	if n < 90 {
		t.Errorf("%d commands found; are they looked for where they are?", n)
	}
}

// exists says whether words begin with a command below node.
func exists(node *kong.Node, words []string) bool {
	if len(node.Children) == 0 {
		return true
	}
	for _, child := range node.Children {
		if len(words) > 0 && child.Name == words[0] {
			return exists(child, words[1:])
		}
	}
	return false
}

// texts are the strings of all Go files below paths, and what follows sudo in others.
func texts(t *testing.T, paths ...string) (all []string) {
	t.Helper()
	for _, path := range paths {
		err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			switch filepath.Ext(path) {
			case ".go":
				all = append(all, literals(t, path)...)
			case ".md", ".svelte", ".ts":
				text, err := os.ReadFile(path)
				if err != nil {
					return err
				}
				all = append(all, sudo.FindAllString(string(text), -1)...)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func literals(t *testing.T, path string) (all []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if text, err := strconv.Unquote(lit.Value); err == nil {
				all = append(all, text)
			}
		}
		return true
	})
	return all
}

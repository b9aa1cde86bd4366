package pkg

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/arasul/arasul/"

// layers are the packages of each layer, lowest first, as doc.go draws them.
// May names the layers below that a layer may import; words may import earlier
// words.
var layers = []struct {
	name     string
	packages []string
	may      []string
}{
	{"words", []string{"api", "atomicfile", "bundle", "command", "config", "spool", "stable", "stream", "version"}, nil},
	{"edges", []string{"acme", "bus", "client", "daemon", "disk", "dpkg", "host", "issue", "jetson", "journal", "kernel", "load", "mdns", "models", "modelserver", "n8n", "nvml", "objects", "ollama", "podman", "probe", "secrets", "support", "systemd", "usb"}, []string{"words"}},
	{"decisions", []string{"auth", "bootstrap", "certs", "container", "gpu", "heal", "inference", "logs", "metrics", "proxy", "setup", "update"}, []string{"words"}},
	{"surfaces", []string{"araupdate", "cli", "dashboard", "postgres"}, []string{"words", "decisions"}},
}

// TestPackagesImportLowerLayersOnly reads the files itself: a test that asks
// the go command is cached and would go on passing.
func TestPackagesImportLowerLayersOnly(t *testing.T) {
	seen := map[string]bool{}
	walk(t, func(pkg, file string, imports []string) {
		seen[pkg] = true
		at, order := layerOf(pkg)
		if at < 0 {
			t.Errorf("%s: package %s has no layer: add it to doc.go and to this test", file, pkg)
			return
		}
		for _, path := range imports {
			target, ours := strings.CutPrefix(path, module)
			if !ours || strings.HasSuffix(file, "_test.go") {
				continue // a test may use the real thing
			}
			target, inPkg := strings.CutPrefix(target, "pkg/")
			if !inPkg {
				t.Errorf("%s: imports %s; migrations and web are passed on by cmd as file systems", file, path)
				continue
			}
			target, _, _ = strings.Cut(target, "/")
			if target == pkg {
				continue // a package below its own folder
			}
			to, toOrder := layerOf(target)
			earlierWord := at == 0 && to == 0 && toOrder < order
			if !earlierWord && (to < 0 || !slices.Contains(layers[at].may, layers[to].name)) {
				t.Errorf("%s: %s (%s) must not import %s", file, pkg, layers[at].name, target)
			}
		}
	})
	for _, l := range layers {
		for _, p := range l.packages {
			if !seen[p] {
				t.Errorf("%s is on the map and not in the tree", p)
			}
		}
	}
}

// TestEveryPackageSaysWhatItDoes wants the package comment in the map's words:
// what it does, and what it does not.
func TestEveryPackageSaysWhatItDoes(t *testing.T) {
	comments := map[string]string{}
	walk(t, func(pkg, file string, _ []string) {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly)
		if err != nil {
			t.Fatal(err)
		}
		if f.Doc != nil && !strings.HasSuffix(f.Name.Name, "_test") {
			comments[pkg] += f.Doc.Text()
		}
	})
	for _, l := range layers {
		for _, p := range l.packages {
			text := comments[p]
			if !strings.HasPrefix(text, "Package "+p+" ") {
				t.Errorf("package %s: no comment that begins with %q", p, "Package "+p)
			}
			if p != "version" && !strings.Contains(text, " not ") && !strings.Contains(text, "no ") {
				t.Errorf("package %s: the comment does not say what the package leaves to others", p)
			}
		}
	}
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		for _, p := range l.packages {
			if !strings.Contains(string(text), " "+p+" ") {
				t.Errorf("doc.go does not show %s", p)
			}
		}
	}
}

func layerOf(pkg string) (layer, order int) {
	for i, l := range layers {
		if j := slices.Index(l.packages, pkg); j >= 0 {
			return i, j
		}
	}
	return -1, -1
}

// walk visits every Go file below pkg, with the name of the package's folder.
func walk(t *testing.T, visit func(pkg, file string, imports []string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "testdata" {
			return fs.SkipDir
		}
		top, _, below := strings.Cut(filepath.ToSlash(path), "/")
		if d.IsDir() || !below || !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		var imports []string
		for _, i := range f.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			imports = append(imports, p)
		}
		visit(top, path, imports)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The prototype's defect P10: its tests of signatures, of versions and of the
// installation were there, and skipped.
func TestNoTestOfUpdatesIsSkipped(t *testing.T) {
	reasons := []string{"root", "this kernel has no"} // who is not root mounts nothing
	n := 0
	for _, dir := range []string{"araupdate", "bundle", "stable", "update", "usb"} {
		files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			n++
			for i, line := range strings.Split(string(text), "\n") {
				if strings.Contains(line, "t.Skip") && !slices.ContainsFunc(reasons, func(r string) bool { return strings.Contains(line, r) }) {
					t.Errorf("%s:%d: %s", name, i+1, strings.TrimSpace(line))
				}
			}
		}
	}
	if n < 8 {
		t.Errorf("%d files with tests", n)
	}
}

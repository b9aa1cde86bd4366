// Package logs decides which part of the journal may be read, and by which
// name: what our units say, and what the kernel does. It answers on a socket,
// and keeps the files in /var/log/arasul for those who expect files.
//
// The journal is the truth; the files are a copy of it, a few seconds behind. A
// service is known by its short name, which is looked for among the units that
// are installed; nothing that a client says is passed on to the journal.
//
// It does not read the journal itself, does not rotate the files (logrotate
// does), and does not ask who is at the other end: who may open the socket may
// read. update_usb.log is package usb's.
package logs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/arasul/arasul/pkg/api"
)

// Journal reads what units said; package journal has the details.
type Journal interface {
	Read(ctx context.Context, units []string, q api.LogQuery) (api.LogPage, error)
	Follow(ctx context.Context, units []string, q api.LogQuery, each func(api.LogEntry) error) error
}

// ErrUnknown says that there is no such service here.
var ErrUnknown = errors.New("there is no service of that name")

// unitDirs are where systemd finds units; those of containers are generated.
var unitDirs = []string{
	"etc/systemd/system", "run/systemd/system", "run/systemd/generator", "usr/lib/systemd/system", "lib/systemd/system",
}

// isOurs reports whether a file of systemd's is a unit of ours.
func isOurs(name string) bool {
	name, suffix, _ := strings.Cut(name, ".")
	name, ours := strings.CutPrefix(name, "arasul-")
	return ours && isWord(strings.TrimSuffix(name, "@"), lower) &&
		slices.Contains([]string{"service", "socket", "timer", "path", "target"}, suffix)
}

const (
	lower = "abcdefghijklmnopqrstuvwxyz0123456789-"
	upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ_:."
)

// isWord reports whether s is 1 to 60 of these characters.
func isWord(s, characters string) bool {
	return s != "" && len(s) <= 60 && strings.Trim(s, characters) == ""
}

// Catalogue knows which units are ours. The zero value looks at this machine.
type Catalogue struct{ Root fs.FS }

// Units returns the units that a service's short name means, as the journal
// takes them: all that are ours when it is empty. Instances of a template are
// one service, and each by its own name.
func (c Catalogue) Units(service string) ([]string, error) {
	if service == api.KernelLog {
		return []string{api.KernelLog}, nil
	}
	installed := c.installed()
	if service == "" {
		if len(installed) == 0 {
			return nil, ErrUnknown
		}
		for i, u := range installed {
			installed[i] = strings.Replace(u, "@.", "@*.", 1)
		}
		return installed, nil
	}
	name, instance, isInstance := strings.Cut(service, "@")
	plain, template := "arasul-"+name+".service", "arasul-"+name+"@.service"
	switch {
	case !isWord(name, lower) || isInstance && !isWord(instance, lower+upper):
	case isInstance && slices.Contains(installed, template):
		return []string{"arasul-" + service + ".service"}, nil
	case !isInstance && slices.Contains(installed, plain):
		return []string{plain}, nil
	case !isInstance && slices.Contains(installed, template):
		return []string{"arasul-" + name + "@*.service"}, nil
	}
	return nil, ErrUnknown
}

// installed are the files of our units, sorted.
func (c Catalogue) installed() []string {
	root := c.Root
	if root == nil {
		root = os.DirFS("/")
	}
	var units []string
	for _, dir := range unitDirs {
		files, _ := fs.Glob(root, dir+"/arasul-*")
		for _, f := range files {
			if name := filepath.Base(f); isOurs(name) {
				units = append(units, name)
			}
		}
	}
	slices.Sort(units)
	return slices.Compact(units)
}

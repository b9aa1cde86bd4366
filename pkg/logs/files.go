package logs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/atomicfile"
)

const (
	writeEvery = 2 * time.Second
	maxWaiting = 4 << 20   // bytes of lines not written yet; then the journal waits
	maxFile    = 100 << 20 // logrotate comes once a day; a flood is faster, and the disk is not the log's
	firstLines = api.MaxLogLines
	lookAnew   = time.Hour // for units that were installed meanwhile
	retryEvery = 10 * time.Second
)

// Files copies the journal into the files of LOG-1: system.log has all of it,
// self_healing.log what the healer says, update.log what the updater says, and
// service/NAME.log what one service says.
//
// The cursor is saved after the lines, so that a power cut repeats a few and
// loses none. A file that logrotate moved away is made anew; a folder that does
// not let us is told of once.
type Files struct {
	Journal Journal
	Units   Catalogue
	Dir     string // /var/log/arasul
	Cursor  string // the file that remembers how far it came
	Log     *slog.Logger

	open    map[string]*os.File
	waiting map[string]*strings.Builder
	bytes   int
	last    string // cursor of the newest entry taken
	bad     bool   // the last writing went wrong
}

// Line is an entry as a line of text.
func Line(e api.LogEntry) string {
	return fmt.Sprintf("%s %s %s: %s\n", e.Time.UTC().Format("2006-01-02T15:04:05.000Z"), e.Unit, e.Severity, e.Message)
}

// Run copies until ctx ends.
func (f *Files) Run(ctx context.Context) error {
	f.open, f.waiting = map[string]*os.File{}, map[string]*strings.Builder{}
	defer func() {
		for _, file := range f.open {
			_ = file.Close()
		}
	}()
	if text, err := os.ReadFile(f.Cursor); err == nil && api.IsLogCursor(strings.TrimSpace(string(text))) {
		f.last = strings.TrimSpace(string(text))
	}
	for {
		err := f.follow(ctx)
		if ctx.Err() != nil {
			f.flush()
			return ctx.Err()
		}
		if err != nil && !errors.Is(err, context.DeadlineExceeded) {
			f.Log.Warn("journal no longer followed", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(retryEvery):
			}
		}
	}
}

// follow copies for an hour.
func (f *Files) follow(ctx context.Context) error {
	units, err := f.Units.Units("")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookAnew)
	defer cancel()
	entries := make(chan api.LogEntry, 64)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		return f.Journal.Follow(ctx, units, api.LogQuery{After: f.last, Lines: firstLines}, func(e api.LogEntry) error {
			select {
			case entries <- e:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	})
	g.Go(func() error {
		tick := time.NewTicker(writeEvery)
		defer tick.Stop()
		for {
			select {
			case e := <-entries:
				f.take(e)
			case <-tick.C:
				f.flush()
			case <-ctx.Done():
				f.flush()
				return ctx.Err()
			}
		}
	})
	return g.Wait()
}

// take sorts an entry.
func (f *Files) take(e api.LogEntry) {
	line := Line(e)
	for _, name := range names(e.Unit) {
		b := f.waiting[name]
		if b == nil {
			b = &strings.Builder{}
			f.waiting[name] = b
		}
		b.WriteString(line)
		f.bytes += len(line)
	}
	f.last = e.Cursor
	if f.bytes > maxWaiting {
		f.flush()
	}
}

// names are the files that a unit's lines go into.
func names(unit string) []string {
	files := []string{"system.log"}
	name, _, _ := strings.Cut(strings.TrimPrefix(unit, "arasul-"), ".")
	name, _, _ = strings.Cut(name, "@")
	if isWord(name, lower) {
		files = append(files, "service/"+name+".log")
	}
	switch name {
	case "healer":
		files = append(files, "self_healing.log")
	case "updater":
		files = append(files, "update.log")
	}
	return files
}

// flush writes what waits, then how far it came. What cannot be written is let
// go: the journal has it.
func (f *Files) flush() {
	if len(f.waiting) == 0 {
		return
	}
	var errs []error
	for name, lines := range f.waiting {
		if err := f.write(name, lines.String()); err != nil {
			errs = append(errs, err)
		}
	}
	clear(f.waiting)
	f.bytes = 0
	if err := atomicfile.Write(f.Cursor, []byte(f.last+"\n"), 0o600); err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil && !f.bad {
		f.Log.Warn("log files not written, the journal has what they lack", "err", err)
	}
	f.bad = len(errs) > 0
}

// write appends to a file, which is made when it is new or was moved away.
func (f *Files) write(name, text string) error {
	path := filepath.Join(f.Dir, name)
	file := f.open[name]
	if file != nil && !same(file, path) {
		_ = file.Close()
		file = nil
		delete(f.open, name)
	}
	if file == nil {
		var err error
		file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o640) //nolint:gosec // a name out of our units, in our folder
		if err != nil {
			return fmt.Errorf("opening log file: %w", err)
		}
		st, err := file.Stat()
		if err == nil && !st.Mode().IsRegular() {
			err = fmt.Errorf("%s is no file: %w", path, fs.ErrInvalid)
		}
		if err == nil && st.Size() == 0 { // new: our umask is stricter than its readers need
			err = file.Chmod(0o640)
		}
		if err != nil {
			_ = file.Close()
			return fmt.Errorf("opening log file: %w", err)
		}
		f.open[name] = file
	}
	if st, err := file.Stat(); err != nil || st.Size() > maxFile {
		return err
	}
	_, err := file.WriteString(text)
	return err
}

// same reports whether path still leads to the open file.
func same(file *os.File, path string) bool {
	a, err := file.Stat()
	if err != nil {
		return false
	}
	b, err := os.Lstat(path)
	return err == nil && os.SameFile(a, b)
}

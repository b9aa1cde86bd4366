package main

import (
	"cmp"
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/client"
	"github.com/arasul/arasul/pkg/usb"
)

// account is what came of a stick, file by file, for the page.
type account struct{ stick api.Stick }

// maxName bounds what a name on a stick may take, in bytes. No file system that is read
// has longer ones.
const maxName = 1024

func newAccount(label string) *account {
	return &account{api.Stick{Label: text(label), Files: []api.StickFile{}}}
}

// text bounds what a stick says. That it may be no UTF-8 is mended where it becomes JSON.
func text(s string) string { return s[:min(maxName, len(s))] }

// file returns what is known of a file, to be filled in.
func (a *account) file(name string) *api.StickFile {
	name = text(name)
	for i := range a.stick.Files {
		if a.stick.Files[i].Name == name {
			return &a.stick.Files[i]
		}
	}
	a.stick.Files = append(a.stick.Files, api.StickFile{Name: name})
	return &a.stick.Files[len(a.stick.Files)-1]
}

// refused notes why a file was not taken, in the updater's own words where it has some.
func (a *account) refused(name string, err error) {
	a.file(name).Problem = cmp.Or(api.RefusedBy(err), &api.Refused{Message: err.Error()})
}

// tell gives the account to the updater: of so many files as the log names, what was
// taken first. That it does not come there harms nothing.
func (a *account) tell(updater *client.Client, found usb.Report, trouble error, log *slog.Logger) {
	for _, r := range found.Refused {
		if f := a.file(r.Name); f.Problem == nil {
			f.Problem = &api.Refused{Code: "bad-format", Message: r.Reason}
		}
	}
	slices.SortStableFunc(a.stick.Files, func(x, y api.StickFile) int {
		switch {
		case x.Taken == y.Taken:
			return 0
		case x.Taken:
			return -1
		}
		return 1
	})
	a.stick.Files = a.stick.Files[:min(maxNamed, len(a.stick.Files))]
	if trouble != nil {
		a.stick.Error = text(trouble.Error())
	}
	a.stick.Time = time.Now().UTC()
	// The stick may have been pulled, which ends everything else.
	if err := updater.Call(context.Background(), http.MethodPost, "/stick", a.stick, nil); err != nil {
		log.Warn("the page is not told", "err", err)
	}
}

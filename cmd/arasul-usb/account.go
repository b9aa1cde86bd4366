package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
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

// text is what a stick says, as far as it can be shown.
func text(s string) string {
	if len(s) > maxName {
		s = s[:maxName]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// file returns what is known of a file, to be filled in; there is room for so many, and
// the log has all that it names.
func (a *account) file(name string) *api.StickFile {
	name = text(name)
	for i := range a.stick.Files {
		if a.stick.Files[i].Name == name {
			return &a.stick.Files[i]
		}
	}
	if len(a.stick.Files) == maxNamed {
		return &api.StickFile{}
	}
	a.stick.Files = append(a.stick.Files, api.StickFile{Name: name})
	return &a.stick.Files[len(a.stick.Files)-1]
}

func (a *account) refused(name string, err error) { a.file(name).Problem = refused(err) }

// refused is an error in the words of the API, the updater's own where it has some.
func refused(err error) *api.Refused {
	var no interface {
		Code() string
		Hint() string
	}
	if errors.As(err, &no) {
		return &api.Refused{Code: no.Code(), Message: err.Error(), Hint: no.Hint()}
	}
	return &api.Refused{Message: err.Error()}
}

// tell gives the account to the updater. That it does not come there harms nothing.
func (a *account) tell(updater *client.Client, found usb.Report, trouble error, log *slog.Logger) {
	for _, r := range found.Refused {
		if f := a.file(r.Name); f.Problem == nil {
			f.Problem = &api.Refused{Code: "bad-format", Message: r.Reason}
		}
	}
	if trouble != nil {
		a.stick.Error = text(trouble.Error())
	}
	a.stick.Time = time.Now().UTC()
	// The stick may have been pulled, which ends everything else.
	if err := updater.Call(context.Background(), http.MethodPost, "/stick", a.stick, nil); err != nil {
		log.Warn("the page is not told", "err", err)
	}
}

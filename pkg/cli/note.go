package cli

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/arasul/arasul/pkg/api"
)

// noteWithin bounds how long a command waits to have been kept in the audit.
const noteWithin = 3 * time.Second

// note keeps in the audit what was done by hand, and how it went. What a unit
// does is not noted: the healer that started it keeps that. What cannot be kept
// is said and does not fail: the work was done.
func (e *Env) note(ctx context.Context, action, subject string, went error) {
	if e.Console == nil || os.Getenv("SYSTEMD_EXEC_PID") == strconv.Itoa(os.Getpid()) {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteWithin)
	defer cancel()
	n := api.AuditNote{Action: action, Subject: subject, Result: api.ResultSuccess}
	if went != nil {
		n.Result, n.Detail = api.ResultFailed, went.Error()
	}
	if err := e.console(ctx, http.MethodPost, "note", n, nil); err != nil {
		fmt.Fprintln(e.Stderr, "not kept in the audit:", err)
	}
}

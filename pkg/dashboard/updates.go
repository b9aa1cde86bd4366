package dashboard

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-chi/chi/v5"

	"github.com/arasul/arasul/pkg/api"
)

const (
	updaterWithin = 30 * time.Second // checking a large part of a release again takes its time
	sliceWithin   = 2 * time.Minute  // as long as the proxy waits for it: a slow line sends 140 kB/s
	maxSlice      = 16 << 20         // of a release, in one request
	maxReply      = 4 << 20
)

// Updater is the updater, over HTTP on its socket.
type Updater interface {
	GetJSON(ctx context.Context, path string, v any) error
	Do(ctx context.Context, method, path string, header http.Header, body io.Reader) (*http.Response, error)
	Listen(ctx context.Context, path string, opened func(), each func(line []byte) error) error
}

// UpdateProblem is a problem with a release: which kind, and what to do about it.
type UpdateProblem struct {
	Problem
	Code     string `json:"code,omitempty" example:"not-newer"`
	Hint     string `json:"hint,omitempty"`
	Received int64  `json:"received_bytes,omitempty" doc:"Where the file goes on, when it was not there"`
}

func updaterAway() error {
	return problemOf(http.StatusServiceUnavailable, "updater-away", "The updater cannot be reached: systemctl status arasul-updater")
}

// updateRoutes are answered by the updater, and passed on.
func (d *Dashboard) updateRoutes(r chi.Router, doc *huma.OpenAPI) {
	status := doc.Components.Schemas.Schema(reflect.TypeFor[api.Update](), true, "Update")
	staged := doc.Components.Schemas.Schema(reflect.TypeFor[api.StagedBundle](), true, "StagedBundle")
	history := doc.Components.Schemas.Schema(reflect.TypeFor[api.UpdateHistory](), true, "UpdateHistory")
	trouble := doc.Components.Schemas.Schema(reflect.TypeFor[UpdateProblem](), true, "UpdateProblem")
	apply := doc.Components.Schemas.Schema(reflect.TypeFor[UpdateWish](), true, "UpdateWish")
	undo := doc.Components.Schemas.Schema(reflect.TypeFor[UpdateUndo](), true, "UpdateUndo")
	add := func(method, id, path, summary, description string, body *huma.RequestBody, code string, schema *huma.Schema, handle http.HandlerFunc) {
		r.Method(method, path, handle)
		op := &huma.Operation{
			OperationID: id, Method: method, Path: path, Tags: []string{"update"}, Summary: summary, Description: description, RequestBody: body,
			Responses: map[string]*huma.Response{code: {Description: "Done, or begun", Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}},
		}
		for status, what := range map[string]string{
			"400": "Not understood", "404": "There is nothing of the kind", "409": "Not now", "413": "Too much at once",
			"422": "Refused: see code and hint", "503": "The updater cannot be reached", "507": "No room on the disk",
		} {
			op.Responses[status] = &huma.Response{Description: what, Content: map[string]*huma.MediaType{"application/problem+json": {Schema: trouble}}}
		}
		doc.AddOperation(op)
	}
	jsonBody := func(schema *huma.Schema) *huma.RequestBody {
		return &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}
	}
	add("GET", "update-status", "/api/update/status", "Which release is installed, and what is being done", "", nil, "200", status, d.askUpdater(http.MethodGet, "/status"))
	add("GET", "update-history", "/api/update/history", "Updates of this machine, the newest first", "", nil, "200", history, d.askUpdater(http.MethodGet, "/history"))
	add("GET", "update-staged", "/api/update/upload", "What was received of a release", "", nil, "200", staged, d.askUpdater(http.MethodGet, "/stage"))
	add("DELETE", "update-forget", "/api/update/upload", "Forget what was received of a release", "", nil, "200", status, d.forgetUpload)
	add("POST", "update-upload", "/api/update/upload", "Send a release, slice by slice",
		"Slices of up to 16 MiB, in order: Content-Range says which. The first holds the head of the file. Signature and manifest are checked "+
			"before anything is stored, each MiB before it is written. The answer says where the file goes on, which may be ahead of the end of the slice; "+
			"the same file again goes on where it was.",
		&huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}}},
		"200", staged, d.upload)
	add("POST", "update-apply", "/api/update/apply", "Install the release that was received",
		"The dashboard itself is replaced: it is away for a while. Whatever is not well afterwards leads back to the release before.",
		jsonBody(apply), "202", status, d.changeUpdate("apply", func() any { return &UpdateWish{} }))
	add("POST", "update-cancel", "/api/update/cancel", "Cancel an update that has not stopped anything yet, or an upload", "",
		jsonBody(undo), "202", status, d.changeUpdate("cancel", func() any { return &UpdateUndo{} }))
	add("POST", "update-rollback", "/api/update/rollback", "Bring the release before back", "What was stored since stays.",
		jsonBody(undo), "202", status, d.changeUpdate("rollback", func() any { return &UpdateUndo{} }))
	r.Get("/api/update/events", d.updateEvents)
	doc.AddOperation(&huma.Operation{
		OperationID: "update-events", Method: http.MethodGet, Path: "/api/update/events", Tags: []string{"update"},
		Summary: "What changes, as it changes", Description: "Server-sent events whose data is that of update-status.",
		Responses: map[string]*huma.Response{
			"200": {Description: "Events", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}},
			"503": {Description: "The updater cannot be reached", Content: map[string]*huma.MediaType{"application/problem+json": {Schema: trouble}}},
		},
	})
}

// UpdateWish is api.ApplyUpdate as a client may say it.
type UpdateWish struct {
	Bundle         string `json:"bundle" minLength:"64" maxLength:"64" pattern:"^[0-9a-f]+$" doc:"Of what was received and looked at: another is not installed"`
	AllowDowngrade bool   `json:"allow_downgrade,omitempty" doc:"To a lower sequence, not below the floor; needs a reason"`
	Force          bool   `json:"force,omitempty" doc:"Again, although this release failed here before"`
	Reason         string `json:"reason,omitempty" maxLength:"500"`
}

// UpdateUndo is api.UndoUpdate as a client may say it.
type UpdateUndo struct {
	Reason string `json:"reason,omitempty" maxLength:"500"`
}

var bundleForm = regexp.MustCompile(`^[0-9a-f]{64}$`)

// order is what the updater is told: by whom we know, not what a client says.
func order(wish any, actor string) (any, string, error) {
	switch w := wish.(type) {
	case *UpdateWish:
		if !bundleForm.MatchString(w.Bundle) || len(w.Reason) > 500 {
			return nil, "", errors.New("bundle has to be 64 hexadecimal digits, and the reason 500 characters at most")
		}
		return api.ApplyUpdate{Bundle: w.Bundle, Actor: actor, AllowDowngrade: w.AllowDowngrade, Force: w.Force, Reason: w.Reason}, w.Bundle, nil
	case *UpdateUndo:
		if len(w.Reason) > 500 {
			return nil, "", errors.New("the reason has to be 500 characters at most")
		}
		return api.UndoUpdate{Actor: actor, Reason: w.Reason}, "", nil
	}
	return nil, "", errors.New("unknown")
}

// changeUpdate asks the updater for something, and notes who did.
func (d *Dashboard) changeUpdate(verb string, blank func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		wish := blank()
		decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10))
		decoder.DisallowUnknownFields()
		err := decoder.Decode(wish)
		var told any
		var subject string
		if err == nil {
			told, subject, err = order(wish, cmp.Or(who(r.Context()).User, admin))
		}
		if err != nil {
			writeError(w, problemOf(http.StatusUnprocessableEntity, "invalid", "The request is not understood: "+err.Error()+"."))
			return
		}
		body, err := json.Marshal(told)
		if err != nil {
			writeError(w, err)
			return
		}
		no := d.pass(w, r, updaterWithin, http.MethodPost, "/"+verb, bytes.NewReader(body))
		d.noteUpdate(r.Context(), verb, subject, no)
		d.noteWish()
	}
}

func (d *Dashboard) noteUpdate(ctx context.Context, verb, subject string, no error) {
	result, detail := api.ResultSuccess, ""
	if no != nil {
		result, detail = api.ResultRefused, no.Error()
	}
	d.audit(ctx, "update."+verb, subject, result, detail)
}

func (d *Dashboard) askUpdater(method, path string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { _ = d.pass(w, r, updaterWithin, method, path, nil) }
}

func (d *Dashboard) forgetUpload(w http.ResponseWriter, r *http.Request) {
	d.noteUpdate(r.Context(), "forget", "", d.pass(w, r, updaterWithin, http.MethodDelete, "/stage", nil))
}

var contentRange = regexp.MustCompile(`^bytes (\d{1,15})-(\d{1,15})/(\d{1,15})$`)

// upload passes a slice of a release on to the updater.
func (d *Dashboard) upload(w http.ResponseWriter, r *http.Request) {
	from, size := int64(0), r.ContentLength
	if text := r.Header.Get("Content-Range"); text != "" {
		m := contentRange.FindStringSubmatch(text)
		if m == nil {
			writeError(w, problemOf(http.StatusBadRequest, "bad-range", "Content-Range has to be: bytes FIRST-LAST/SIZE."))
			return
		}
		first, _ := strconv.ParseInt(m[1], 10, 64)
		last, _ := strconv.ParseInt(m[2], 10, 64)
		size, _ = strconv.ParseInt(m[3], 10, 64)
		if from = first; first > last || last >= size || last-first+1 != r.ContentLength {
			writeError(w, problemOf(http.StatusBadRequest, "bad-range", "Content-Range does not fit the body."))
			return
		}
	}
	if r.ContentLength < 1 || r.ContentLength > maxSlice {
		writeError(w, problemOf(http.StatusRequestEntityTooLarge, "too-large", "A slice has 1 byte to 16 MiB, and a Content-Length."))
		return
	}
	no := d.pass(w, r, sliceWithin, http.MethodPost, fmt.Sprintf("/stage?size=%d&offset=%d", size, from), http.MaxBytesReader(w, r.Body, maxSlice))
	if from == 0 || no != nil { // not each slice
		d.noteUpdate(r.Context(), "upload", fmt.Sprintf("%d bytes", size), no)
	}
}

// pass asks the updater, and answers as it does. The error is what it refused.
func (d *Dashboard) pass(w http.ResponseWriter, r *http.Request, within time.Duration, method, path string, body io.Reader) error {
	w.Header().Set("Cache-Control", "no-store")
	if d.opts.Updater == nil {
		writeError(w, updaterAway())
		return errors.New("there is no updater")
	}
	ctx, cancel := context.WithTimeout(r.Context(), within)
	defer cancel()
	reply, err := d.opts.Updater.Do(ctx, method, path, http.Header{"Content-Type": {"application/octet-stream"}}, body)
	if err != nil {
		if r.Context().Err() == nil {
			d.opts.Log.Warn("updater not reached", "err", err)
			writeError(w, updaterAway())
		}
		return errors.New("the updater cannot be reached")
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(io.LimitReader(reply.Body, maxReply))
	if err != nil {
		writeError(w, updaterAway())
		return err
	}
	if reply.StatusCode/100 == 2 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(reply.StatusCode)
		_, _ = w.Write(text)
		return nil
	}
	return refuseUpdate(w, reply.StatusCode, text)
}

// refuseUpdate answers with what the updater refused, in the form of our problems.
func refuseUpdate(w http.ResponseWriter, status int, text []byte) error {
	var no struct {
		Detail, Code, Hint string
		Received           int64 `json:"received_bytes"`
	}
	if json.Unmarshal(text, &no) != nil || no.Detail == "" {
		no.Detail = "The updater says " + http.StatusText(status)
	}
	p := UpdateProblem{Problem: *problemOf(status, cmp.Or(no.Code, "update"), no.Detail+"."), Code: no.Code, Hint: no.Hint, Received: no.Received}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(p)
	return errors.New(no.Detail)
}

// updateEvents follows the updater.
func (d *Dashboard) updateEvents(w http.ResponseWriter, r *http.Request) {
	if d.opts.Updater == nil {
		writeError(w, updaterAway())
		return
	}
	ctx, cancel := d.whileAdmitted(r.Context())
	defer cancel()
	out := http.NewResponseController(w)
	began := false
	begin := func() {
		began = true
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Accel-Buffering", "no")
		w.WriteHeader(http.StatusOK)
		_ = out.Flush()
	}
	err := d.opts.Updater.Listen(ctx, "/stream", begin, func(line []byte) error {
		if _, err := fmt.Fprintf(w, "data: %s\n\n", line); err != nil {
			return err
		}
		return out.Flush()
	})
	if err != nil && !began && ctx.Err() == nil {
		writeError(w, updaterAway())
	}
}

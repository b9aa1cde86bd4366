package update

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/bundle"
)

// maxSlice is how much of a bundle clients send at once, in bytes.
const maxSlice = 16 << 20

// maxRequest bounds what a request says, in bytes; a bundle is none.
const maxRequest = 64 << 10

// Handler answers on the updater's socket, which root and the dashboard reach:
//
//	GET    /status    api.Update
//	GET    /stream    one api.Update a line, at each change and every 5 s
//	GET    /history   api.UpdateHistory
//	POST   /inspect   the beginning of a bundle → api.Bundle; ?by=usb: as nobody looks at it
//	GET    /stage     api.StagedBundle
//	POST   /stage     ?size=&offset=, bytes of a bundle → api.StagedBundle
//	DELETE /stage
//	POST   /apply     api.ApplyUpdate → api.Update
//	POST   /cancel    api.UndoUpdate → api.Update
//	POST   /stick     api.Stick, from the one that has read it
//	POST   /rollback  api.UndoUpdate → api.Update
//
// What is refused is a problem document (RFC 9457) with code and hint.
func (u *Updater) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) { reply(w, http.StatusOK, u.Status(r.Context())) })
	mux.Handle("GET /stream", &u.hub)
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, u.History()) })
	mux.HandleFunc("POST /inspect", func(w http.ResponseWriter, r *http.Request) {
		b, err := u.Inspect(r.Context(), http.MaxBytesReader(w, r.Body, bundle.MaxHead), r.URL.Query().Get("by") != "usb")
		answerOr(w, err, http.StatusOK, b)
	})
	mux.HandleFunc("GET /stage", u.getStage)
	mux.HandleFunc("POST /stage", u.postStage)
	mux.HandleFunc("DELETE /stage", func(w http.ResponseWriter, r *http.Request) {
		answerOr(w, u.Forget(), http.StatusOK, u.Status(r.Context()))
	})
	mux.HandleFunc("POST /apply", func(w http.ResponseWriter, r *http.Request) {
		var a api.ApplyUpdate
		if decode(w, r, &a) {
			err := u.Apply(r.Context(), a, a.Actor != "usb")
			answerOr(w, err, http.StatusAccepted, u.Status(r.Context()))
		}
	})
	mux.HandleFunc("POST /stick", func(w http.ResponseWriter, r *http.Request) {
		var s api.Stick
		if decode(w, r, &s) {
			answerOr(w, u.StickSeen(s), http.StatusOK, s)
		}
	})
	mux.HandleFunc("POST /cancel", func(w http.ResponseWriter, r *http.Request) {
		var a api.UndoUpdate
		if decode(w, r, &a) {
			err := u.Cancel(r.Context(), a)
			answerOr(w, err, http.StatusAccepted, u.Status(r.Context()))
		}
	})
	mux.HandleFunc("POST /rollback", func(w http.ResponseWriter, r *http.Request) {
		var a api.UndoUpdate
		if decode(w, r, &a) {
			err := u.Rollback(r.Context(), a)
			answerOr(w, err, http.StatusAccepted, u.Status(r.Context()))
		}
	})
	return mux
}

func (u *Updater) getStage(w http.ResponseWriter, r *http.Request) {
	if staged := u.Staged(r.Context()); staged != nil {
		reply(w, http.StatusOK, staged)
		return
	}
	problem(w, http.StatusNotFound, api.Refused{Code: string(Unknown), Message: "nothing was received"}, 0)
}

func (u *Updater) postStage(w http.ResponseWriter, r *http.Request) {
	size, sizeErr := strconv.ParseInt(r.URL.Query().Get("size"), 10, 64)
	offset, offsetErr := strconv.ParseInt(r.URL.Query().Get("offset"), 10, 64)
	if errors.Join(sizeErr, offsetErr) != nil || size < 1 || offset < 0 || offset > size {
		problem(w, http.StatusBadRequest, api.Refused{Code: string(bundle.BadFormat), Message: "size and offset have to be numbers of bytes"}, 0)
		return
	}
	if err := u.Receive(r.Context(), size, offset, r.Body); err != nil {
		_, _ = io.CopyN(io.Discard, r.Body, maxSlice) // a client that still sends would not hear the answer
		u.refuse(w, err)
		return
	}
	reply(w, http.StatusOK, u.Staged(r.Context()))
}

// refuse answers an error, with how far the file has come.
func (u *Updater) refuse(w http.ResponseWriter, err error) {
	var received int64
	if at := u.stage.get(); at != nil {
		received = at.received()
	}
	refused := refusedBy(err)
	problem(w, statusOf(refused.Code), *refused, received)
}

func statusOf(code string) int {
	switch bundle.Code(code) {
	case bundle.BadFormat:
		return http.StatusBadRequest
	case Busy:
		return http.StatusConflict
	case bundle.TooLarge:
		return http.StatusRequestEntityTooLarge
	case NoSpace:
		return http.StatusInsufficientStorage
	case Unknown:
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

func answerOr(w http.ResponseWriter, err error, status int, v any) {
	if err != nil {
		refused := refusedBy(err)
		problem(w, statusOf(refused.Code), *refused, 0)
		return
	}
	reply(w, status, v)
}

func decode(w http.ResponseWriter, r *http.Request, v any) bool {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		problem(w, http.StatusBadRequest, api.Refused{Code: string(bundle.BadFormat), Message: "the request cannot be read: " + err.Error()}, 0)
		return false
	}
	return true
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client has gone: nobody is left to tell
}

func problem(w http.ResponseWriter, status int, refused api.Refused, received int64) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Title    string `json:"title"`
		Status   int    `json:"status"`
		Detail   string `json:"detail"`
		Code     string `json:"code"`
		Hint     string `json:"hint,omitempty"`
		Received int64  `json:"received_bytes,omitempty"`
	}{http.StatusText(status), status, refused.Message, refused.Code, refused.Hint, received})
}

package logs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/stream"
)

const (
	maxReads    = 2 // at once: each runs a journalctl
	maxFollows  = 16
	patience    = 3 * time.Second
	followFor   = time.Hour // then the client comes back with its cursor
	writeWithin = 10 * time.Second
)

// Handler answers on the daemon's socket:
//
//	GET /entries  api.LogPage; ?service= severity= since= before= lines=
//	GET /follow   each api.LogEntry, newline-delimited; ?service= severity= since= after= lines=
//	GET /ping     {}
//
// Service is a short name, or kernel; 404 when there is none. Lines are 1 to
// 1000 for a page; 0 to 1000 of those that there are for following.
func Handler(journal Journal, units Catalogue, log *slog.Logger) http.Handler {
	h := &handler{journal, units, log, make(chan struct{}, maxReads), make(chan struct{}, maxFollows)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /entries", h.entries)
	mux.HandleFunc("GET /follow", h.follow)
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}\n")) })
	return mux
}

type handler struct {
	journal        Journal
	units          Catalogue
	log            *slog.Logger
	reads, follows chan struct{} // one token each
}

// Query writes q for the socket. It is what Handler reads.
func Query(q api.LogQuery) string {
	v := url.Values{"lines": {strconv.Itoa(q.Lines)}}
	for name, value := range map[string]string{
		"service": q.Service, "severity": string(q.Severity), "before": q.Before, "after": q.After,
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if !q.Since.IsZero() {
		v.Set("since", q.Since.UTC().Format(time.RFC3339))
	}
	return v.Encode()
}

// query reads what is asked for; fewest is the fewest lines.
func (h *handler) query(r *http.Request, fewest int) (units []string, q api.LogQuery, status int, err error) {
	v := r.URL.Query()
	q = api.LogQuery{Service: v.Get("service"), Severity: api.Severity(v.Get("severity")), Before: v.Get("before"), After: v.Get("after")}
	if units, err = h.units.Units(q.Service); err != nil {
		return nil, q, http.StatusNotFound, err
	}
	if q.Severity != "" && !slices.Contains(api.Severities, q.Severity) {
		return nil, q, http.StatusBadRequest, fmt.Errorf("severity is one of %v", api.Severities)
	}
	for _, c := range []string{q.Before, q.After} {
		if c != "" && !api.IsLogCursor(c) {
			return nil, q, http.StatusBadRequest, errors.New("before and after are cursors of entries")
		}
	}
	if since := v.Get("since"); since != "" {
		if q.Since, err = time.Parse(time.RFC3339, since); err != nil {
			return nil, q, http.StatusBadRequest, errors.New("since is a time as in RFC 3339")
		}
	}
	if q.Lines, err = strconv.Atoi(v.Get("lines")); err != nil || q.Lines < fewest || q.Lines > api.MaxLogLines {
		return nil, q, http.StatusBadRequest, fmt.Errorf("lines is %d to %d", fewest, api.MaxLogLines)
	}
	return units, q, 0, nil
}

func (h *handler) entries(w http.ResponseWriter, r *http.Request) {
	units, q, status, err := h.query(r, 1)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	if !take(r.Context(), h.reads, patience) {
		http.Error(w, "too many read the journal", http.StatusServiceUnavailable)
		return
	}
	defer func() { <-h.reads }()
	page, err := h.journal.Read(r.Context(), units, q)
	if err != nil {
		h.log.Warn("journal unread", "err", err)
		http.Error(w, "the journal cannot be read", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(page) // the client has gone: nobody is left to tell
}

func (h *handler) follow(w http.ResponseWriter, r *http.Request) {
	units, q, status, err := h.query(r, 0)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	if !take(r.Context(), h.follows, 0) {
		http.Error(w, "too many follow the journal", http.StatusServiceUnavailable)
		return
	}
	defer func() { <-h.follows }()
	ctx, cancel := context.WithTimeout(stream.Ending(r.Context()), followFor)
	defer cancel()
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	if rc.Flush() != nil {
		return
	}
	out := json.NewEncoder(w)
	err = h.journal.Follow(ctx, units, q, func(e api.LogEntry) error {
		_ = rc.SetWriteDeadline(time.Now().Add(writeWithin)) // a writer without deadlines has its own limits
		if err := out.Encode(e); err != nil {
			return fmt.Errorf("%w: %w", errGone, err)
		}
		return rc.Flush()
	})
	if ctx.Err() == nil && !errors.Is(err, errGone) {
		h.log.Warn("journal no longer followed", "err", err)
	}
}

// errGone says that the client does not listen any more.
var errGone = errors.New("the client has gone")

// take takes a token, for which it waits a while.
func take(ctx context.Context, tokens chan<- struct{}, wait time.Duration) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case tokens <- struct{}{}:
		return true
	default:
	}
	select {
	case tokens <- struct{}{}:
		return true
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

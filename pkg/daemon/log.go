package daemon

import (
	"context"
	"io"
	"log/slog"
	"sync"
)

// NewLogger writes text for the journal: no time and no identity, which the
// journal adds, but the syslog priority in front ("<4>"), which it removes
// again (sd-daemon(3)).
func NewLogger(w io.Writer) *slog.Logger {
	out := &priorityWriter{w: w}
	text := slog.NewTextHandler(out, &slog.HandlerOptions{
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return a
		},
	})
	return slog.New(&priorityHandler{Handler: text, out: out})
}

// priorityWriter puts the priority in front of each record. The lock is held
// by priorityHandler from choosing the priority to writing the record.
type priorityWriter struct {
	mu       sync.Mutex
	w        io.Writer
	priority string
}

func (p *priorityWriter) Write(record []byte) (int, error) {
	if _, err := p.w.Write(append([]byte(p.priority), record...)); err != nil {
		return 0, err
	}
	return len(record), nil
}

type priorityHandler struct {
	slog.Handler
	out *priorityWriter
}

func (h *priorityHandler) Handle(ctx context.Context, r slog.Record) error {
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.priority = priority(r.Level)
	return h.Handler.Handle(ctx, r)
}

func (h *priorityHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &priorityHandler{Handler: h.Handler.WithAttrs(attrs), out: h.out}
}

func (h *priorityHandler) WithGroup(name string) slog.Handler {
	return &priorityHandler{Handler: h.Handler.WithGroup(name), out: h.out}
}

// priority is the level as syslog(3) counts it.
func priority(l slog.Level) string {
	switch {
	case l >= slog.LevelError:
		return "<3>"
	case l >= slog.LevelWarn:
		return "<4>"
	case l >= slog.LevelInfo:
		return "<6>"
	default:
		return "<7>"
	}
}

package acme

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger gives certmagic a logger that ends in ours. What it tells of its
// progress is for debugging; its warnings and errors are what it says them to be.
func zapLogger(log *slog.Logger) *zap.Logger { return zap.New(core{log: log}) }

type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

// Enabled is for zap; so are the others.
func (core) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c core) With(fields []zapcore.Field) zapcore.Core {
	return core{c.log, append(slices.Clone(c.fields), fields...)}
}

func (c core) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clone(c.fields), fields...) {
		f.AddTo(values)
	}
	var b strings.Builder
	b.WriteString(e.Message)
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		fmt.Fprintf(&b, ", %s %.400v", key, values.Fields[key])
	}
	level := slog.LevelWarn
	if e.Level >= zapcore.ErrorLevel {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, "certificate authority", "reason", b.String())
	return nil
}

func (core) Sync() error { return nil }

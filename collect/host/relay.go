package host

import (
	"context"
	"log/slog"
	"sync/atomic"
)

// relay passes the collectors' log records on, one level lower: upstream logs
// at ERROR what is normal in a container (no /run/udev/data), again at every
// scrape, and at INFO each flag it has read. A collector's failure as a whole
// is logged by Collector, once per spell.
type relay struct {
	to    *atomic.Pointer[slog.Handler]
	attrs []slog.Attr
}

func (r *relay) target() slog.Handler { return *r.to.Load() }

// Enabled implements slog.Handler.
func (r *relay) Enabled(ctx context.Context, _ slog.Level) bool {
	return r.target().Enabled(ctx, slog.LevelDebug)
}

// Handle implements slog.Handler.
func (r *relay) Handle(ctx context.Context, rec slog.Record) error {
	out := slog.NewRecord(rec.Time, slog.LevelDebug, rec.Message, rec.PC)
	out.AddAttrs(r.attrs...)
	out.AddAttrs(slog.String("upstream_level", rec.Level.String()))
	rec.Attrs(func(a slog.Attr) bool { out.AddAttrs(a); return true })
	return r.target().Handle(ctx, out)
}

// WithAttrs implements slog.Handler.
func (r *relay) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &relay{to: r.to, attrs: append(r.attrs[:len(r.attrs):len(r.attrs)], attrs...)}
}

// WithGroup implements slog.Handler. Upstream's collectors open no groups.
func (r *relay) WithGroup(string) slog.Handler { return r }

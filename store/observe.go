package store

import (
	"context"
	"errors"
	"log/slog"

	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/wlog"
)

// observer passes the TSDB's log on and shows each record to see: what the TSDB
// repairs by itself it tells nobody but its log.
type observer struct {
	slog.Handler
	see func(slog.Record)
}

func (o observer) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelWarn {
		o.see(r)
	}
	return o.Handler.Handle(ctx, r)
}

func (o observer) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn || o.Handler.Enabled(ctx, l)
}

func (o observer) WithAttrs(as []slog.Attr) slog.Handler {
	return observer{o.Handler.WithAttrs(as), o.see}
}

func (o observer) WithGroup(name string) slog.Handler {
	return observer{o.Handler.WithGroup(name), o.see}
}

// observe looks for damage by the type of the logged error, not by its wording.
func (s *Store) observe(r slog.Record) {
	r.Attrs(func(a slog.Attr) bool {
		err, ok := a.Value.Any().(error)
		if !ok {
			return true
		}
		if log, found := errors.AsType[*wlog.CorruptionErr](err); found {
			s.warn.logRepaired.Set("log segment %d in %s is damaged at byte %d: what follows is lost (%v)", log.Segment, log.Dir, log.Offset, log.Err)
		}
		if head, found := errors.AsType[*chunks.CorruptionErr](err); found {
			s.headRepaired(head.Error() + "; what it held is rebuilt from the log")
		}
		return true
	})
}

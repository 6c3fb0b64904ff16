package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

type weightKey struct{}

func withWeight(samples int) context.Context {
	return context.WithValue(context.Background(), weightKey{}, samples)
}

// weightOf is how many samples a record holds.
func weightOf(r *kgo.Record) int {
	n, _ := r.Context.Value(weightKey{}).(int)
	return n
}

// lastWord passes the client's log on and keeps the last error in it: the client
// tries again for ever and tells nobody else why.
type lastWord struct {
	log *slog.Logger

	mu   sync.Mutex
	text string
}

// Level implements kgo.Logger.
func (*lastWord) Level() kgo.LogLevel { return kgo.LogLevelInfo }

// Log implements kgo.Logger.
func (l *lastWord) Log(_ kgo.LogLevel, msg string, keyvals ...any) {
	for i := 0; i+1 < len(keyvals); i += 2 {
		if err, ok := keyvals[i+1].(error); ok && err != nil {
			l.mu.Lock()
			l.text = fmt.Sprintf("%s: %v", msg, err)
			l.mu.Unlock()
		}
	}
	l.log.Debug("the kafka client says", append([]any{"what", msg}, keyvals...)...)
}

func (l *lastWord) get() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return "nothing"
	}
	return l.text
}

package query

import (
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/health"
)

const (
	// troubleHold is how long a health warning outlives the last event behind it.
	troubleHold = 5 * time.Minute
	// tick is how often Run lets warnings expire and tells live subscribers.
	tick = 5 * time.Second
	// queryShown is how many bytes of a query a warning quotes.
	queryShown = 200
)

// trouble turns events into health warnings that hold while they recur.
type trouble struct {
	mu       sync.Mutex
	timeouts spell
	full     spell
	remote   spell
}

// spell is a run of events no more than troubleHold apart.
type spell struct {
	handle *health.Handle
	count  int
	last   time.Time
}

func newTrouble(l *health.List) *trouble {
	return &trouble{
		timeouts: spell{handle: l.Declare(health.Warning{
			Code:     "query-timeout",
			Severity: health.SeverityWarning,
			Title:    "Queries run out of time",
			Remedy:   "Ask for fewer series, a shorter range or a longer step, record the expression with a rule, or raise query.timeout.",
		})},
		full: spell{handle: l.Declare(health.Warning{
			Code:     "query-queue-full",
			Severity: health.SeverityWarning,
			Title:    "Queries are refused because too many wait",
			Remedy:   "Find who asks so much in the query log (query.log_file), or raise query.max_concurrency or query.max_queue.",
		})},
		remote: spell{handle: l.Declare(health.Warning{
			Code:     "query-remote-read",
			Severity: health.SeverityWarning,
			Title:    "Queries miss what a remote_read endpoint has",
			Remedy:   "See that the endpoint answers and accepts this island's credentials, or take it out of remote_read.",
		})},
	}
}

func (t *trouble) timeout(query string, err error) {
	if len(query) > queryShown {
		query = query[:queryShown] + "..."
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.timeouts.again()
	t.timeouts.handle.Set("%d queries ran out of time; the last: %q: %v", n, query, err)
}

func (t *trouble) queueFull(waiting int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.full.again()
	t.full.handle.Set("%d queries were refused; %d were waiting at the last", n, waiting)
}

func (t *trouble) remoteFailed(name, err string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.remote.again()
	t.remote.handle.Set("%d reads failed; the last, from %s: %s", n, name, err)
}

// expire clears the warnings whose last event is older than troubleHold.
func (t *trouble) expire(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range []*spell{&t.timeouts, &t.full, &t.remote} {
		if s.count > 0 && now.Sub(s.last) >= troubleHold {
			s.count = 0
			s.handle.Clear()
		}
	}
}

func (s *spell) again() int {
	s.count++
	s.last = time.Now()
	return s.count
}

package probe

import (
	"fmt"
	"sync"
	"time"
)

// ledger has written down who has what probed. What is asked for again and again is
// one entry when it begins, and one with the number of times when it ends or a day
// is over: the log of an island that is scraped every few seconds stays short.
type ledger struct {
	// write keeps an entry, or says why nothing may happen; nil keeps none.
	write func(actor, action, subject, detail string) error
	now   func() time.Time

	mu    sync.Mutex
	known map[entry]*times
	// lines are those of this minute, by actor, left what was not listed.
	minute time.Time
	lines  map[string]int
	all    int
	left   map[string]int
	told   time.Time // when what was left out was written
}

// entry is one thing that somebody asks for.
type entry struct{ actor, action, subject, detail string }

// times are those at which an entry was asked for.
type times struct {
	first, last time.Time
	n           int
}

const (
	// entryIdle and entryAge are after what rest, and after what time, the number of
	// times is written.
	entryIdle, entryAge = time.Hour, 24 * time.Hour
	// mostEntries are told apart, mostLines written for one actor in a minute, and
	// mostLinesAll for all: each is synced to disk.
	mostEntries, mostLines, mostLinesAll = 10_000, 60, 600
)

func newLedger(write func(actor, action, subject, detail string) error) *ledger {
	return &ledger{write: write, now: time.Now, known: map[entry]*times{}, lines: map[string]int{}, left: map[string]int{}}
}

// note writes that somebody asks for something, before it is done. Where that
// cannot be written it must not be done.
func (l *ledger) note(e entry) error {
	if l.write == nil {
		return nil
	}
	if !l.fresh(e) {
		return nil
	}
	err := l.write(e.actor, e.action, e.subject, e.detail)
	if err != nil {
		l.mu.Lock()
		delete(l.known, e)
		l.mu.Unlock()
	}
	return err
}

// fresh reports whether an entry has to be written.
func (l *ledger) fresh(e entry) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if t := l.known[e]; t != nil {
		t.last = now
		t.n++
		return false
	}
	if now.Sub(l.minute) >= time.Minute {
		l.minute, l.lines, l.all = now, map[string]int{}, 0
	}
	if l.lines[e.actor] >= mostLines || l.all >= mostLinesAll {
		actor := e.actor
		if len(l.left) >= mostLinesAll {
			actor = "others"
		}
		l.left[actor]++
		return false
	}
	l.lines[e.actor]++
	l.all++
	if len(l.known) < mostEntries {
		l.known[e] = &times{first: now, last: now, n: 1}
	}
	return true
}

// flush writes the numbers of what ended, or of everything. It returns the errors
// of the log as one.
func (l *ledger) flush(everything bool) (err error) {
	if l.write == nil {
		return nil
	}
	for _, e := range l.due(everything) {
		if failed := l.write(e.actor, e.action, e.subject, e.detail); failed != nil {
			err = failed
		}
	}
	return err
}

func (l *ledger) due(everything bool) (out []entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for e, t := range l.known {
		if !everything && now.Sub(t.last) < entryIdle && now.Sub(t.first) < entryAge {
			continue
		}
		if t.n > 1 {
			out = append(out, entry{e.actor, e.action + "-again", e.subject,
				fmt.Sprintf("%d more times, the last at %s; %s", t.n-1, t.last.UTC().Format(time.RFC3339), e.detail)})
		}
		delete(l.known, e)
	}
	if everything || now.Sub(l.told) >= time.Minute {
		l.told = now
		for actor, n := range l.left {
			out = append(out, entry{actor, "probe-more", fmt.Sprintf("%d probes", n), fmt.Sprintf("not listed one by one: at most %d lines a minute", mostLines)})
		}
		clear(l.left)
	}
	return out
}

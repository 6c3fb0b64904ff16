package global

import "sync"

// ledger is the state of one group while this island evaluates it, with what its
// receivers were told. It outlives its worker: a notification that was under way
// when the group went to another island is noted all the same.
type ledger struct {
	dirty chan struct{} // one at most waiting

	mu    sync.Mutex
	state *State
	index map[toldKey]int
	// united counts how many times the state took in that of others.
	united int
}

func (l *ledger) told(k toldKey, firedAt int64) (Told, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.index == nil {
		l.index = make(map[toldKey]int, len(l.state.Told))
		for i, t := range l.state.Told {
			l.index[t.key()] = i
		}
	}
	i, ok := l.index[k]
	if !ok || l.state.Told[i].Fired < firedAt && l.state.Told[i].Fired < l.state.firedAt(k.alert, firedAt) {
		return Told{}, false // nothing, or about an earlier spell
	}
	return l.state.Told[i], true
}

// tell notes what was told here just now. It is the last word, whatever the clock
// says of whoever had it before, and however many beginnings were united in one.
func (l *ledger) tell(news ...Told) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, n := range news {
		for _, t := range l.state.Told {
			if t.key() == n.key() {
				news[i].Fired, news[i].At = max(n.Fired, t.Fired), max(n.At, t.At+1)
			}
		}
	}
	if l.state.tell(news...) {
		l.index = nil
		l.changed()
	}
}

// changed has the state written.
func (l *ledger) changed() {
	select {
	case l.dirty <- struct{}{}:
	default:
	}
}

func (l *ledger) unions() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.united
}

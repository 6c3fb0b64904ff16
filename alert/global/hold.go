package global

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"time"
)

// A group goes from one primary to another in the open: who evaluates it, still has
// notifications about it under way, or is about to begin, says so in a document of
// its own; and nobody begins while another one who can be reached says so. Whoever
// gives a group up says it last of all, after the state that the next one needs.

const (
	// holdPatience bounds how long an island waits for another that can be reached
	// and does not let go of a group.
	holdPatience = 20 * time.Second
	// comparePause is what each primary before this one in the group's order has to
	// tell something first.
	comparePause = 2 * time.Second
	compareMost  = 3 // of these pauses
	maxHolds     = 10_000
)

const holdsPrefix = KindState + "/holds~"

// holds is the document in which an island says which groups are in its hands.
type holds struct {
	Island string   `json:"island"`
	Holds  []string `json:"holds"`
}

func holdsKey(island string) string {
	h := fnv.New64a()
	h.Write([]byte(island))
	return fmt.Sprintf("%s%016x", holdsPrefix, h.Sum64())
}

func decodeHolds(text []byte) (h holds, err error) {
	if len(text) > MaxState+1 {
		return h, fmt.Errorf("holds: %d bytes, at most %d", len(text), MaxState+1)
	}
	if err := json.Unmarshal(text, &h); err != nil {
		return h, fmt.Errorf("holds: %w", err)
	}
	if h.Island == "" || h.Holds == nil || len(h.Holds) > maxHolds {
		return h, fmt.Errorf("holds: island and holds are required, and at most %d of these", maxHolds)
	}
	return h, nil
}

// CheckState judges a document of KindState.
func CheckState(text []byte) error {
	_, err := decodeHolds(text)
	if err == nil {
		return nil
	}
	if _, other := DecodeState(text); other != nil {
		return errors.Join(err, other)
	}
	return nil
}

// holders are the islands other than this one that hold a group, by group.
func (e *Evaluator) holders() map[string][]string {
	out, own := map[string][]string{}, holdsKey(e.o.Self())
	for _, d := range e.o.Documents.List(holdsPrefix) {
		h, err := decodeHolds(d.Value)
		if err != nil || d.Key == own || d.Key != holdsKey(h.Island) {
			continue // what is refused here was refused where it was written, or is a lie
		}
		for _, id := range h.Holds {
			out[id] = append(out[id], h.Island)
		}
	}
	return out
}

// takeable are the groups that are this island's to evaluate and that nobody else
// holds. It says that it wants them before it looks who does: of two that want a
// group at the same time at least one then sees the other.
func (e *Evaluator) takeable(ctx context.Context, self string, live []string) []string {
	now, next := time.Now(), map[string]time.Time{}
	e.mu.Lock()
	for id := range e.groups {
		if e.settled && Owner(id, live) == self && e.workers[id] == nil && e.leaving[id] == nil {
			next[id] = now
			if since, waits := e.wants[id]; waits {
				next[id] = since
			}
		}
	}
	e.wants = next
	e.mu.Unlock()
	if err := e.tellHolds(ctx); err != nil || len(next) == 0 {
		return nil
	}
	reached := e.sync(ctx, e.spoken(live))
	holders := e.holders()
	var free []string
	for id, since := range next {
		held := slices.ContainsFunc(holders[id], func(h string) bool { return slices.Contains(live, h) || reached[h] })
		if !held || now.Sub(since) >= holdPatience {
			free = append(free, id)
		}
	}
	return free
}

// spoken are the live primaries and all islands that say that they hold a group.
func (e *Evaluator) spoken(live []string) []string {
	out := slices.Clone(live)
	for _, holders := range e.holders() {
		for _, h := range holders {
			if !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	return out
}

// tellHolds writes which groups are in this island's hands, or wanted, unless that
// stands there.
func (e *Evaluator) tellHolds(ctx context.Context) error {
	mine := holds{Island: e.o.Self(), Holds: []string{}}
	e.mu.Lock()
	mine.Holds = append(append(append(mine.Holds, sortedKeys(e.workers)...), sortedKeys(e.leaving)...), sortedKeys(e.wants)...)
	e.mu.Unlock()
	slices.Sort(mine.Holds)
	key := holdsKey(mine.Island)
	var stands holds
	for _, d := range e.o.Documents.List(key) {
		stands, _ = decodeHolds(d.Value) // what is not understood is written anew
	}
	if slices.Equal(stands.Holds, mine.Holds) {
		return nil
	}
	text, err := json.Marshal(mine)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, saveTimeout)
		defer cancel()
		_, err = e.o.Documents.Set(ctx, key, append(text, '\n'))
	}
	if err != nil {
		e.metrics.states.WithLabelValues("failed").Inc()
		e.trouble.unshared.Set("which groups are in this island's hands: %v", err)
		e.o.Logger.Warn("say which global groups are in this island's hands", "error", err)
		return err
	}
	e.metrics.states.WithLabelValues("written").Inc()
	given := func(id string) bool { return !slices.Contains(mine.Holds, id) }
	if ctx.Err() == nil && slices.ContainsFunc(stands.Holds, given) {
		e.sync(ctx, e.live()) // somebody waits for it
	}
	return nil
}

// Compare learns what other primaries told about a group, those included that are
// held for lost: they may be there after all. Each primary before this one in the
// group's order has a moment to speak first.
func (e *Evaluator) Compare(ctx context.Context, group string) {
	self, all := e.o.Self(), e.o.Primaries()
	before := 0
	for _, n := range all {
		if n != self && Owner(group, []string{n, self}) == n {
			before++
		}
	}
	timer := time.NewTimer(time.Duration(min(before, compareMost)) * comparePause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return
	}
	e.sync(ctx, all)
	e.mu.Lock()
	w := e.workers[group]
	e.mu.Unlock()
	if w != nil {
		w.absorb()
	}
}

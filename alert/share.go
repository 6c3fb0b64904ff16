package alert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/prometheus/alertmanager/silence/silencepb"
	"google.golang.org/protobuf/encoding/protodelim"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxSilence bounds one encoded silence.
const maxSilence = 1 << 20

// unshared are silences that changed here and that nobody else was told of yet.
type unshared struct {
	wake chan struct{}

	mu      sync.Mutex
	pending map[string]*silencepb.MeshSilence
}

// heard is called by the silences with their lock held: it only takes note.
func (u *unshared) heard(state []byte) {
	all, err := decodeSilences(state)
	if err != nil {
		return // it was encoded by the same library a moment ago
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, s := range all {
		u.pending[s.GetSilence().GetId()] = s
	}
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

func (u *unshared) take() map[string]*silencepb.MeshSilence {
	u.mu.Lock()
	defer u.mu.Unlock()
	out := u.pending
	u.pending = map[string]*silencepb.MeshSilence{}
	return out
}

// ShareSilences hands every silence, as it is now and whenever one changes, to
// put as JSON text, until ctx ends. Silences that put could not take are handed
// over again. It is called at most once at a time.
func (a *Alert) ShareSilences(ctx context.Context, put func(ctx context.Context, id string, text []byte) error) error {
	u := &unshared{wake: make(chan struct{}, 1), pending: map[string]*silencepb.MeshSilence{}}
	silences := a.embedded.silences
	silences.SetBroadcast(u.heard)
	defer silences.SetBroadcast(func([]byte) {})
	state, err := silences.MarshalBinary()
	if err != nil {
		return fmt.Errorf("list silences: %w", err)
	}
	u.heard(state)
	retry := time.NewTicker(30 * time.Second)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-u.wake:
		case <-retry.C:
		}
		for id, s := range u.take() {
			if err := a.share(ctx, id, s, put); err != nil && ctx.Err() == nil {
				a.logger.Warn("silence not shared yet", "silence", id, "err", err)
				u.mu.Lock()
				if _, newer := u.pending[id]; !newer {
					u.pending[id] = s
				}
				u.mu.Unlock()
			}
		}
	}
}

func (a *Alert) share(ctx context.Context, id string, s *silencepb.MeshSilence, put func(context.Context, string, []byte) error) error {
	text, err := protojson.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode silence %s: %w", id, err)
	}
	// protojson varies its spaces on purpose; equal silences must be equal texts.
	var stable bytes.Buffer
	if err := json.Compact(&stable, text); err != nil {
		return fmt.Errorf("encode silence %s: %w", id, err)
	}
	return put(ctx, id, append(stable.Bytes(), '\n'))
}

// LearnSilence takes in a silence that was set, changed or ended on another
// island. It reports whether its time is over for good, so that nobody needs to
// keep it.
func (a *Alert) LearnSilence(text []byte) (over bool, err error) {
	s, err := parseSilence(text)
	if err != nil {
		return false, err
	}
	if s.GetExpiresAt().AsTime().Before(time.Now()) {
		return true, nil
	}
	var state bytes.Buffer
	if _, err := protodelim.MarshalTo(&state, s); err != nil {
		return false, fmt.Errorf("encode silence: %w", err)
	}
	if err := a.embedded.silences.Merge(state.Bytes()); err != nil {
		return false, fmt.Errorf("take in silence %s: %w", s.GetSilence().GetId(), err)
	}
	return false, nil
}

// CheckSilence says what is wrong with a shared silence's text.
func CheckSilence(text []byte) error {
	_, err := parseSilence(text)
	return err
}

func parseSilence(text []byte) (*silencepb.MeshSilence, error) {
	if len(text) > maxSilence {
		return nil, fmt.Errorf("silence: %d bytes, at most %d", len(text), maxSilence)
	}
	s := &silencepb.MeshSilence{}
	if err := protojson.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("silence: %w", err)
	}
	switch {
	case s.GetSilence().GetId() == "":
		return nil, errors.New("silence.id: is empty; set silences through the Alertmanager API or amtool")
	case len(s.GetSilence().GetMatchers())+len(s.GetSilence().GetMatcherSets()) == 0:
		return nil, errors.New("silence.matchers: there is none, which would silence nothing")
	case s.GetExpiresAt() == nil || s.GetSilence().GetEndsAt() == nil || s.GetSilence().GetUpdatedAt() == nil:
		return nil, errors.New("silence: expiresAt, endsAt and updatedAt are required")
	}
	return s, nil
}

func decodeSilences(state []byte) ([]*silencepb.MeshSilence, error) {
	var out []*silencepb.MeshSilence
	for r := bytes.NewReader(state); ; {
		s := &silencepb.MeshSilence{}
		err := protodelim.UnmarshalOptions{MaxSize: maxSilence}.UnmarshalFrom(r, s)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
}

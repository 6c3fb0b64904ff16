package replica

import (
	"cmp"
	"encoding/hex"
	"slices"
	"time"
)

// Status is what a replica says of itself.
type Status struct {
	// Documents held, tombstones not included.
	Documents  int   `json:"documents"`
	Tombstones int   `json:"tombstones"`
	Bytes      int64 `json:"bytes"`
	// HistoryBytes is the encoded size of older versions.
	HistoryBytes int64 `json:"history_bytes"`
	// Root is the digest of everything held, in hexadecimal: the first half of
	// documents of trust, the second of all others.
	Root string `json:"root"`
	// Deferred documents wait because they are of the future; Refused versions are
	// remembered because their author has no right.
	Deferred int `json:"deferred"`
	Refused  int `json:"refused"`
	// LastSync is when a comparison with anybody last went through; zero for never.
	LastSync time.Time `json:"last_sync,omitzero"`
	// Stale: cut off for longer than deletions are remembered.
	Stale bool `json:"stale"`
	// ClockAheadMs is by how much the hybrid clock leads the local one, at least 0.
	ClockAheadMs int64    `json:"clock_ahead_ms"`
	Peers        []PeerOf `json:"peers"`
}

// PeerOf is a connected island, or one that was compared with since the start.
type PeerOf struct {
	PeerStatus
	Connected bool `json:"connected"`
	// LagMs is the time since a comparison last went through; absent for never.
	LagMs *int64 `json:"lag_ms,omitempty"`
}

// Status reads everything at once; the peers come in order of their keys.
func (r *Replica) Status() Status {
	t := r.index.totals()
	s := Status{
		Documents: t.documents - t.tombstones, Tombstones: t.tombstones, Bytes: t.bytes,
		HistoryBytes: r.store.historyBytes.Load(), Root: hex.EncodeToString(r.Root()),
		Deferred: r.waiting.len(), Refused: r.refusals.len(), Stale: r.stale(),
		ClockAheadMs: max(0, r.clock.ahead().Milliseconds()), Peers: []PeerOf{},
	}
	if ms := r.lastSync.Load(); ms != 0 {
		s.LastSync = time.UnixMilli(ms).UTC()
	}
	for _, p := range r.sessions.status() {
		s.Peers = append(s.Peers, PeerOf{PeerStatus: p})
	}
	if r.o.Peers != nil {
		for _, key := range r.o.Peers.Connected() {
			i := slices.IndexFunc(s.Peers, func(p PeerOf) bool { return p.Key == key })
			if i < 0 {
				i = len(s.Peers)
				s.Peers = append(s.Peers, PeerOf{PeerStatus: PeerStatus{Key: key}})
			}
			s.Peers[i].Connected = true
		}
	}
	for i, p := range s.Peers {
		if !p.Agreed.IsZero() {
			lag := max(0, r.o.wall().Sub(p.Agreed).Milliseconds())
			s.Peers[i].LagMs = &lag
		}
	}
	slices.SortFunc(s.Peers, func(a, b PeerOf) int { return cmp.Compare(a.Key.String(), b.Key.String()) })
	return s
}

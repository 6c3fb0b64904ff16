package replicate

import (
	"cmp"
	"slices"
	"time"
)

// StreamStatus is what a stream to one member is doing.
type StreamStatus struct {
	Stream string    `json:"stream"`
	To     string    `json:"to"`
	State  string    `json:"state"`
	Since  time.Time `json:"since"`
	Error  string    `json:"error,omitempty"`
	// Newest is the time of the newest sample that the receiver has on disk, Unix
	// ms; 0 while that is not known.
	Newest int64 `json:"newest,omitempty"`
	// SpentToday is in bytes, of all receivers of the stream; PerDay is 0 for no bound.
	SpentToday int64 `json:"spent_today"`
	PerDay     int64 `json:"per_day,omitempty"`
}

// CopyStatus is a copy of another island's series.
type CopyStatus struct {
	About
	// Open says that the origin's stream is open, Since since when that is so.
	Open   bool      `json:"open"`
	Since  time.Time `json:"since"`
	Oldest int64     `json:"oldest,omitempty"`
	Newest int64     `json:"newest,omitempty"`
	Series uint64    `json:"series"`
	// Leaves is when the copy will be removed because its origin left the network.
	Leaves *time.Time `json:"leaves,omitempty"`
}

// Status is everything that is sent and kept.
type Status struct {
	Streams []StreamStatus `json:"streams"`
	Copies  []CopyStatus   `json:"copies"`
}

// Status is what `atoll copies` shows.
func (r *Replicator) Status() Status { return Status{Streams: r.Streams(), Copies: r.copyStatus()} }

// Streams lists what is sent, by stream and receiver.
func (r *Replicator) Streams() []StreamStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]StreamStatus, 0, len(r.outlets))
	for _, s := range r.outlets {
		st := s.state.Load()
		one := StreamStatus{
			Stream: s.stream.Name, To: s.to.Name, State: st.doing, Since: st.since, Newest: s.flight.newest(),
			SpentToday: s.purse.state(time.Now()).Bytes, PerDay: s.purse.perDay,
		}
		if st.err != nil {
			one.Error = st.err.Error()
		}
		out = append(out, one)
	}
	slices.SortFunc(out, func(a, b StreamStatus) int {
		return cmp.Or(cmp.Compare(a.Stream, b.Stream), cmp.Compare(a.To, b.To))
	})
	return out
}

func (r *Replicator) copyStatus() []CopyStatus {
	out := []CopyStatus{}
	for _, c := range r.Copies() {
		one := CopyStatus{About: c.About, Series: c.Store.NumSeries()}
		one.Oldest, one.Newest = c.Store.Span()
		one.Open, one.Since = c.of.served()
		if at, gone := r.o.Gone(c.Origin.ID); gone {
			keep := time.Duration(c.KeepMs) * time.Millisecond
			if keep == 0 {
				keep = r.o.Retention()
			}
			at = at.Add(keep)
			one.Leaves = &at
		}
		out = append(out, one)
	}
	return out
}

// Copy is a copy with what can be read of it.
type Copy struct {
	About
	Store CopyStore
	of    *kept
}

// Copies lists the copies kept here, by origin and stream.
func (r *Replicator) Copies() []Copy {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Copy, 0, len(r.copies))
	for _, c := range r.copies {
		out = append(out, Copy{About: c.info(), Store: c.current(), of: c})
	}
	slices.SortFunc(out, func(a, b Copy) int {
		return cmp.Or(cmp.Compare(a.Origin.Name, b.Origin.Name), cmp.Compare(a.Origin.ID, b.Origin.ID), cmp.Compare(a.Stream, b.Stream))
	})
	return out
}

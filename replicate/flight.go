package replicate

import (
	"context"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// flight holds the frames that were encoded and not acknowledged, in order: they
// are sent again after a cut.
type flight struct {
	most int // bytes

	mu     sync.Mutex
	epoch  uint64
	frames []flying
	bytes  int
	acked  int64         // time of the newest sample that was acknowledged
	room   chan struct{} // signalled when there may be room
}

type flying struct {
	seq     uint64
	push    *replicatepb.Push
	samples int
	newest  int64
	sent    time.Time // zero while it was not
}

func newFlight(most int) *flight { return &flight{most: most, room: make(chan struct{}, 1)} }

// begin forgets all frames: epoch is the one of those to come.
func (f *flight) begin(epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch, f.frames, f.bytes = epoch, nil, 0
}

func (f *flight) add(one flying) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.frames = append(f.frames, one)
	f.bytes += len(one.push.GetFrame())
}

func (f *flight) sent(seq uint64, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.frames {
		if f.frames[i].seq == seq {
			f.frames[i].sent = at
		}
	}
}

// landed takes the frames before seq out and gives their number of samples.
func (f *flight) landed(epoch, seq uint64) (samples int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if epoch != f.epoch {
		return 0
	}
	n := 0
	for ; n < len(f.frames) && f.frames[n].seq < seq; n++ {
		samples += f.frames[n].samples
		f.bytes -= len(f.frames[n].push.GetFrame())
		if f.frames[n].samples > 0 {
			f.acked = max(f.acked, f.frames[n].newest)
		}
		f.frames[n] = flying{}
	}
	f.frames = f.frames[n:]
	select {
	case f.room <- struct{}{}:
	default:
	}
	return samples
}

// oldest is the number of the first frame that can be sent again.
func (f *flight) oldest() (epoch, seq uint64, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.frames) == 0 {
		return 0, 0, false
	}
	return f.epoch, f.frames[0].seq, true
}

// all are the frames in flight.
func (f *flight) all() []flying {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]flying(nil), f.frames...)
}

// grounded takes back that frames were sent: the link is another one.
func (f *flight) grounded() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.frames {
		f.frames[i].sent = time.Time{}
	}
}

// wait waits until another frame may be added.
func (f *flight) wait(ctx context.Context) error {
	for {
		f.mu.Lock()
		free := f.bytes < f.most
		f.mu.Unlock()
		if free {
			return ctx.Err()
		}
		select {
		case <-f.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// waiting is when the oldest frame that awaits an answer was sent.
func (f *flight) waiting() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.frames) == 0 {
		return time.Time{}
	}
	return f.frames[0].sent
}

func (f *flight) newest() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.acked
}

package replicate

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/flow/columnar"
	"github.com/atoll-mesh/atoll/wire/replicatepb"
)

// scripted plays a sender's messages and keeps the replies.
type scripted struct {
	ctx     context.Context
	pushes  []*replicatepb.Push
	replies []*replicatepb.Reply
}

var errEnd = errors.New("the script is over")

func (s *scripted) Context() context.Context { return s.ctx }
func (s *scripted) Send(r *replicatepb.Reply) error {
	s.replies = append(s.replies, r)
	return nil
}

func (s *scripted) Recv() (*replicatepb.Push, error) {
	if len(s.pushes) == 0 {
		return nil, errEnd
	}
	p := s.pushes[0]
	s.pushes = s.pushes[1:]
	return p, nil
}

// onlyReceiver is a world without an origin.
func onlyReceiver(t *testing.T, cfg Config) *world {
	w := newWorld(t)
	w.receiver = w.start(t.TempDir(), cfg)
	t.Cleanup(func() {})
	return w
}

func frameOf(t testing.TB, enc *columnar.Encoder, samples ...columnar.Sample) []byte {
	t.Helper()
	frame, err := enc.Encode(nil, columnar.Batch{Samples: samples})
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func newEncoder(t testing.TB) *columnar.Encoder {
	t.Helper()
	enc, err := columnar.New(columnar.Options{Epoch: 1, Limits: streamLimits(1 << 10)})
	if err != nil {
		t.Fatal(err)
	}
	return enc
}

// TestRefused: what no sender sends ends the stream, and is counted.
func TestRefused(t *testing.T) {
	open := func(change func(*replicatepb.Open)) []*replicatepb.Push {
		o := &replicatepb.Open{Stream: "s"}
		change(o)
		return []*replicatepb.Push{{Open: o}}
	}
	frame := func(b []byte) []*replicatepb.Push {
		return append(open(func(*replicatepb.Open) {}), &replicatepb.Push{Frame: b})
	}
	for name, c := range map[string]struct {
		pushes []*replicatepb.Push
		reason string
	}{
		"no open":         {[]*replicatepb.Push{{Frame: []byte{1}}}, "open"},
		"name":            {open(func(o *replicatepb.Open) { o.Stream = "../../etc" }), "name"},
		"no name":         {open(func(o *replicatepb.Open) { o.Stream = "" }), "name"},
		"selector":        {open(func(o *replicatepb.Open) { o.Match = []string{"{"} }), "match"},
		"selectors":       {open(func(o *replicatepb.Open) { o.Match = make([]string, mostMatch+1) }), "match"},
		"keep":            {open(func(o *replicatepb.Open) { o.Keep = math.MaxInt64 }), "times"},
		"negative":        {open(func(o *replicatepb.Open) { o.OutOfOrder = -1 }), "times"},
		"external labels": {open(func(o *replicatepb.Open) { o.External = make([]*replicatepb.Label, mostExternal+1) }), "labels"},
		"external label": {open(func(o *replicatepb.Open) {
			o.External = []*replicatepb.Label{{Name: "a", Value: strings.Repeat("x", 5000)}}
		}), "labels"},
		"no frame": {frame(nil), "frame"},
		"garbage":  {frame([]byte("garbage that is no frame")), "frame"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := onlyReceiver(t, Default())
				defer func() { _ = w.receiver.stop() }()
				time.Sleep(time.Second)
				err := w.receiver.r.Receive(Origin{"o@1", "origin"}, &scripted{ctx: t.Context(), pushes: c.pushes})
				var bad *Refusal
				if !errors.As(err, &bad) || bad.Reason != c.reason {
					t.Errorf("got %v, want a refusal for %s", err, c.reason)
				}
				if n := value(t, w.receiver.reg, "refused_streams_total"); n != 1 {
					t.Errorf("%v refusals counted", n)
				}
			})
		})
	}
}

// TestLimits: a stream cannot have more copies, series or time than allowed.
func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := Default()
		cfg.Receive.Copies, cfg.Receive.Series = 2, 3
		w := onlyReceiver(t, cfg)
		defer func() { _ = w.receiver.stop() }()
		time.Sleep(time.Second)
		r := w.receiver.r
		enc := newEncoder(t)
		now := time.Now().UnixMilli()
		var samples []columnar.Sample
		for i, at := range []int64{now, now + 2*time.Hour.Milliseconds(), now - 5*time.Hour.Milliseconds()} {
			ref, err := enc.Series(labels.FromStrings("__name__", "a", "i", string(rune('a'+i))))
			if err != nil {
				t.Fatal(err)
			}
			samples = append(samples, columnar.Sample{Ref: ref, T: at, V: 1})
		}
		s := &scripted{ctx: t.Context(), pushes: []*replicatepb.Push{
			{Open: &replicatepb.Open{Stream: "one", Keep: time.Hour.Milliseconds()}}, {Frame: frameOf(t, enc, samples...)},
		}}
		if err := r.Receive(Origin{"o@1", "origin"}, s); !errors.Is(err, errEnd) {
			t.Error(err)
		}
		if n := value(t, w.receiver.reg, "dropped_samples_total"); n != 2 || len(s.replies) != 2 || s.replies[1].GetAck().GetSeq() != 1 || s.replies[0].GetWelcome().GetSeries() != 3 {
			t.Errorf("%v samples dropped, want those of the future and the past: %v", n, s.replies)
		}
		// Series come and go, and the store would keep them for hours.
		var pushes []*replicatepb.Push
		pushes = append(pushes, &replicatepb.Push{Open: &replicatepb.Open{Stream: "one", Keep: time.Hour.Milliseconds()}})
		enc = newEncoder(t)
		for i := range 9 {
			ref, err := enc.Series(labels.FromStrings("__name__", "churn", "i", string(rune('a'+i))))
			if err != nil {
				t.Fatal(err)
			}
			pushes = append(pushes, &replicatepb.Push{Frame: frameOf(t, enc, columnar.Sample{Ref: ref, T: now, V: 1})})
			enc.Drop(ref)
		}
		if err := r.Receive(Origin{"o@1", "origin"}, &scripted{ctx: t.Context(), pushes: pushes}); !errors.Is(err, errEnd) {
			t.Error(err)
		}
		if n := r.Copies()[0].Store.NumSeries(); n > 3 {
			t.Errorf("%d series, want at most 3", n)
		}
		for _, name := range []string{"two", "three"} {
			err := r.Receive(Origin{"o@1", "origin"}, &scripted{ctx: t.Context(), pushes: []*replicatepb.Push{{Open: &replicatepb.Open{Stream: name}}}})
			if (name == "three") != errors.Is(err, flow.ErrOverLimit) {
				t.Errorf("copy %s: %v", name, err)
			}
		}
	})
}

// TestTakeover: a new stream takes the place of one whose link is dead unnoticed.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := onlyReceiver(t, Default())
		defer func() { _ = w.receiver.stop() }()
		time.Sleep(time.Second)
		silent := &pipe{up: make(chan *replicatepb.Push, 1), down: make(chan *replicatepb.Reply, 1)}
		silent.ctx, silent.end = context.WithCancelCause(t.Context())
		silent.up <- &replicatepb.Push{Open: &replicatepb.Open{Stream: "s"}}
		first := make(chan error, 1)
		go func() {
			first <- w.receiver.r.Receive(Origin{"o@1", "origin"}, receiverEnd{silent})
			silent.end(nil)
		}()
		time.Sleep(time.Second)
		err := w.receiver.r.Receive(Origin{"o@1", "origin"}, &scripted{ctx: t.Context(), pushes: []*replicatepb.Push{{Open: &replicatepb.Open{Stream: "s"}}}})
		if !errors.Is(err, errEnd) {
			t.Error(err)
		}
		if err := <-first; !errors.Is(err, context.Canceled) {
			t.Errorf("the first stream ended with %v", err)
		}
	})
}

// TestGone: the copy of an island that left is kept for its time, over restarts,
// and then deleted.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := buddyStream()
		s.Keep = modelDuration(2 * time.Hour)
		w := newWorld(t, s)
		w.begin()
		defer w.stop()
		w.scrape(4)
		w.settle()
		w.sever(true)
		if err := w.origin.stop(); err != nil {
			t.Fatal(err)
		}
		w.crash(w.receiver, Default())
		time.Sleep(3 * time.Hour) // lost, but a member
		if n := len(w.receiver.r.Copies()); n != 1 {
			t.Fatalf("%d copies of an island that is lost, want 1", n)
		}
		now := time.Now()
		w.gone.Store(&now)
		time.Sleep(115 * time.Minute)
		dir := filepath.Join(w.receiver.dir, "replicate", "copies")
		if n, files := len(w.receiver.r.Copies()), entries(t, dir); n != 1 || files != 1 {
			t.Errorf("%d copies in %d directories before its time is over", n, files)
		}
		time.Sleep(10 * time.Minute)
		if n, files := len(w.receiver.r.Copies()), entries(t, dir); n != 0 || files != 0 {
			t.Errorf("%d copies in %d directories when its time is over", n, files)
		}
	})
}

func entries(t *testing.T, dir string) int {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

package council

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"google.golang.org/protobuf/proto"

	"github.com/atoll-mesh/atoll/probe/compare"
	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/emit"
	"github.com/atoll-mesh/atoll/probe/protocol"
	"github.com/atoll-mesh/atoll/probe/verdict"
	"github.com/atoll-mesh/atoll/wire/probepb"
)

// memory is a store that keeps the newest sample of each series that did not end.
type memory struct {
	mu   sync.Mutex
	last map[string]float64
}

func (m *memory) AppenderV2(context.Context) storage.AppenderV2 { return m }

func (m *memory) Append(_ storage.SeriesRef, ls labels.Labels, _, _ int64, v float64, _ *histogram.Histogram, _ *histogram.FloatHistogram, _ storage.AOptions) (storage.SeriesRef, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.last[ls.String()] = v; math.Float64bits(v) == value.StaleNaN {
		delete(m.last, ls.String())
	}
	return 1, nil
}

func (*memory) Commit() error   { return nil }
func (*memory) Rollback() error { return nil }

// series lists those of one name, with values.
func (m *memory) series(name string) (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for ls, v := range m.last {
		if strings.Contains(ls, `"`+name+`"`) {
			out = append(out, fmt.Sprintf("%s %g", ls, v))
		}
	}
	slices.Sort(out)
	return out
}

// sea is where islands are, some of which may not reach each other.
type sea struct {
	t    *testing.T
	mu   sync.Mutex
	side map[string]int // islands of different sides are parted
	all  map[string]*isle
	old  map[string]bool // they do not know what votes are
	n, b int             // messages and their bytes
	// origin answers by URL and host; without one it fails. mute islands leave out
	// answers.
	origin map[string]compare.Answer
	asked  map[string]int
	mute   map[string]bool
}

type isle struct {
	*Council
	name  string
	sea   *sea
	store *memory
	who   verdict.Vantage
	// down are the instances that fail here.
	mu   sync.Mutex
	down map[string]string
	// edge is what it gets where answers are compared.
	edge compare.Answer
	stop context.CancelFunc
	done chan struct{}
}

func (i *isle) Judges() (names []string) {
	i.sea.mu.Lock()
	defer i.sea.mu.Unlock()
	for name := range i.sea.all {
		if i.sea.side[name] == i.sea.side[i.name] {
			names = append(names, name)
		}
	}
	return names
}

var errParted = errors.New("no way there")

func (i *isle) reach(name string) (*isle, error) {
	i.sea.mu.Lock()
	defer i.sea.mu.Unlock()
	to := i.sea.all[name]
	if to == nil || i.sea.side[name] != i.sea.side[i.name] {
		return nil, errParted
	}
	return to, nil
}

func (i *isle) Cast(_ context.Context, judge string, r *probepb.CastRequest) (*probepb.CastResponse, error) {
	to, err := i.reach(judge)
	if err != nil {
		return nil, err
	}
	if i.sea.old[judge] {
		return nil, errOld
	}
	i.sea.mu.Lock()
	mute := i.sea.mute[i.name]
	i.sea.mu.Unlock()
	if mute {
		r = proto.CloneOf(r)
		for _, v := range r.GetVotes() {
			v.Answer = nil
		}
	}
	answer, err := to.Hear(Voter{Name: i.name, Labels: map[string]string{"region": i.who.Region, "island": i.name}}, r)
	i.sea.mu.Lock()
	i.sea.n, i.sea.b = i.sea.n+1, i.sea.b+proto.Size(r)+proto.Size(answer)
	i.sea.mu.Unlock()
	return answer, err
}

func (i *isle) List(_ context.Context, judge string, r *probepb.ListRequest) (*probepb.ListResponse, error) {
	to, err := i.reach(judge)
	if err != nil {
		return nil, err
	}
	return to.Answer(r), nil
}

func newSea(t *testing.T) *sea {
	return &sea{t: t, side: map[string]int{}, all: map[string]*isle{}, asked: map[string]int{}, mute: map[string]bool{}}
}

func (s *sea) isle(ctx context.Context, name, region, isp string, d Definition) *isle {
	i := &isle{
		name: name, sea: s, store: &memory{last: map[string]float64{}}, who: verdict.Vantage{Name: name, Region: region, ISP: isp},
		down: map[string]string{}, edge: got("192.0.2.1", "new"), done: make(chan struct{}),
	}
	e, err := emit.New(i.store, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	if i.Council, err = New(Options{Mesh: i, Self: func() verdict.Vantage { return i.who }, Emitter: e, Origin: i.ask}); err != nil {
		s.t.Fatal(err)
	}
	i.Define(map[string]Definition{d.Name: d})
	s.mu.Lock()
	s.all[name] = i
	s.mu.Unlock()
	ctx, i.stop = context.WithCancel(ctx)
	go func() {
		defer close(i.done)
		var probing sync.WaitGroup
		probing.Go(func() { i.probe(ctx, d) })
		_ = i.Run(ctx) // it never errs
		probing.Wait()
	}()
	return i
}

// probe has every target probed at each interval.
func (i *isle) probe(ctx context.Context, d Definition) {
	phase := time.Duration(rand.Int64N(int64(d.Interval)))
	for wait := phase; ; wait = time.Duration(d.Interval) {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		for _, t := range d.Targets {
			i.mu.Lock()
			code := i.down[t.Text()]
			if code == "" {
				code = i.down["*"]
			}
			i.mu.Unlock()
			o := Outcome{Host: t.Text(), Took: time.Second, Phases: make([]time.Duration, protocol.Phases)}
			o.Phases[protocol.Resolve], o.Phases[protocol.Connect], o.Phases[protocol.TLS] = 3*time.Millisecond, 20*time.Millisecond, 40*time.Millisecond
			o.Phases[protocol.FirstByte], o.Phases[protocol.Transfer] = 30*time.Millisecond, time.Millisecond
			o.At, o.State = time.Now(), verdict.Up
			if code != "" {
				o.State, o.Code, o.Words = verdict.Down, code, "no answer"
			} else if d.Compare != nil {
				o.Answer = i.gets()
			}
			i.Observe(NewTarget(d.Name, t.Text(), noAddress, labels.EmptyLabels()), o)
		}
	}
}

func (i *isle) fail(instance, code string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down[instance] = code
}

// end is a death without a word.
func (i *isle) end() {
	i.sea.mu.Lock()
	delete(i.sea.all, i.name)
	i.sea.mu.Unlock()
	i.stop()
	<-i.done
}

func (s *sea) part(name string, side int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.side[name] = side
}

func webs(n, expected int) Definition {
	d := &definition.Definition{Name: "web", Interval: model.Duration(10 * time.Second), History: definition.History{Need: 2, Of: 3}}
	for i := range n {
		d.Targets = append(d.Targets, definition.Target{Host: fmt.Sprintf("host-%d", i)})
	}
	return Definition{Definition: d, Shared: true, Expected: expected}
}

// verdicts asks an island for all of one target, and fails unless there is one.
func (i *isle) verdict(instance string) Verdict {
	i.sea.t.Helper()
	all, _, _ := i.Everywhere(context.Background(), Filter{Instance: instance})
	if len(all) != 1 {
		i.sea.t.Fatalf("%s: %d verdicts on %s", i.name, len(all), instance)
	}
	return all[0]
}

func six(ctx context.Context, s *sea, d Definition) (all []*isle) {
	for n, isp := range []string{"Telecom", "Unicom", "Mobile"} {
		all = append(all, s.isle(ctx, fmt.Sprintf("cn-%d", n), "cn", isp, d))
		all = append(all, s.isle(ctx, fmt.Sprintf("eu-%d", n), "eu", isp, d))
	}
	return all
}

func inBubble(t *testing.T, f func(ctx context.Context, s *sea)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		s := newSea(t)
		f(ctx, s)
		cancel()
		s.mu.Lock()
		all := slices.Collect(maps.Values(s.all))
		s.mu.Unlock()
		for _, i := range all {
			<-i.done
		}
	})
}

func TestOneISP(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, webs(8, 6))
		time.Sleep(time.Minute)
		for _, i := range all {
			if v := i.verdict("host-3"); v.State != verdict.Up || len(v.Fine) != 6 {
				t.Fatalf("%s: %s: %s", i.name, v.State, v.Words)
			}
		}
		writers := 0
		for _, i := range all {
			writers += len(i.store.series(State))
		}
		if writers != 8 {
			t.Errorf("%d series of states for 8 targets", writers)
		}
		for _, i := range all {
			if i.who.ISP == "Telecom" {
				i.fail("host-3", "connect_timeout")
			}
		}
		time.Sleep(25 * time.Second)
		v := all[5].verdict("host-3")
		if v.State != verdict.Down || !v.Page || !strings.HasPrefix(v.Words, "down from ISP Telecom in cn and eu since ") || !strings.HasSuffix(v.Words, "(connect timeout), fine from 4 other vantages") {
			t.Errorf("%s, page %v: %s", v.State, v.Page, v.Words)
		}
		if got := v.Failing[0]; got.Bad < 2 || got.Of != 3 || got.Words != "no answer" || got.Took != time.Second {
			t.Errorf("vote of a vantage that fails: %+v", got)
		}
		judge := s.all[v.Judge]
		if got := judge.store.series(Page); len(got) != 1 || !strings.HasSuffix(got[0], ` 1`) {
			t.Errorf("series of the page: %q", got)
		}
		if got := judge.store.series(Vantages); !slices.Contains(got, `{__name__="probe_vantages", instance="host-3", job="web", state="down"} 2`) {
			t.Errorf("series of vantages: %q", got)
		}
		// Of the same region but another ISP, first of all.
		for _, i := range all {
			if names := i.Others(NewTarget("web", "host-3", noAddress, labels.EmptyLabels())); i.who.ISP == "Telecom" && (len(names) != 3 || !strings.HasPrefix(names[0], i.who.Region) || !strings.HasPrefix(names[1], i.who.Region)) {
				t.Errorf("%s is told of %q", i.name, names)
			}
		}
	})
}

// TestTakeover has the judge of a failing target die.
func TestTakeover(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, webs(8, 6))
		time.Sleep(time.Minute)
		for _, i := range all[1:4] {
			i.fail("host-1", "status")
		}
		time.Sleep(time.Minute)
		before := all[0].verdict("host-1")
		judge := s.all[before.Judge]
		judge.end()
		time.Sleep(leeway + 5*time.Second)
		all = slices.DeleteFunc(all, func(i *isle) bool { return i == judge })
		after := all[0].verdict("host-1")
		if after.Judge == before.Judge || after.State != verdict.Down || !after.Since.Equal(before.Since) {
			t.Errorf("from %s since %s by %s to %s since %s by %s", before.State, before.Since, before.Judge, after.State, after.Since, after.Judge)
		}
		if got := s.all[after.Judge].store.series(State); !slices.Contains(got, `{__name__="probe_state", instance="host-1", job="web"} 3`) {
			t.Errorf("series of the new judge: %q", got)
		}
		time.Sleep(time.Minute)
		if v := all[0].verdict("host-1"); len(v.Silent) != 1 || v.Silent[0].Vantage.Name != judge.name {
			t.Errorf("the dead one is not silent: %s", v.Words)
		}
		for n := range 8 {
			all[0].verdict(fmt.Sprintf("host-%d", n)) // all are judged by somebody
		}
	})
}

// TestPartition has both sides judge, and one when they meet.
func TestPartition(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, webs(4, 6))
		time.Sleep(time.Minute)
		for _, i := range all {
			if i.who.Region == "eu" {
				s.part(i.name, 1)
				i.fail("host-0", "status")
			}
		}
		time.Sleep(2 * time.Minute)
		for _, i := range all {
			v := i.verdict("host-0")
			want := verdict.Up
			if i.who.Region == "eu" {
				want = verdict.Down
			}
			if v.State != want || len(v.Fine)+len(v.Failing) != 3 {
				t.Errorf("%s: %s: %s", i.name, v.State, v.Words)
			}
		}
		for _, i := range all {
			s.part(i.name, 0)
		}
		time.Sleep(time.Minute)
		for _, i := range all {
			if v := i.verdict("host-0"); v.State != verdict.Down || len(v.Failing) != 3 || len(v.Fine) != 3 {
				t.Errorf("together again, %s: %s: %s", i.name, v.State, v.Words)
			}
		}
		writers := 0
		for _, i := range all {
			writers += len(i.store.series(State))
		}
		if writers != 4 {
			t.Errorf("%d series of states for 4 targets", writers)
		}
	})
}

// TestUplink has one vantage lose its way out.
func TestUplink(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, webs(8, 6))
		time.Sleep(time.Minute)
		all[0].fail("*", "connect_timeout")
		time.Sleep(time.Minute)
		for n := range 8 {
			v := all[1].verdict(fmt.Sprintf("host-%d", n))
			if v.State != verdict.Up || len(v.Blind) != 1 || len(v.Fine) != 5 {
				t.Errorf("%s: %s", v.State, v.Words)
			}
		}
		if got := all[0].store.series(Blind); len(got) != 1 || !strings.HasSuffix(got[0], " 1") {
			t.Errorf("series of the blind vantage: %q", got)
		}
		all[0].fail("*", "")
		time.Sleep(time.Minute)
		if v := all[1].verdict("host-5"); len(v.Fine) != 6 {
			t.Errorf("mended: %s", v.Words)
		}
	})
}

// TestDownForAll is no bad uplink.
func TestDownForAll(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		all := six(ctx, s, webs(8, 6))
		time.Sleep(time.Minute)
		for _, i := range all {
			i.fail("*", "status")
		}
		time.Sleep(time.Minute)
		for n := range 8 {
			if v := all[1].verdict(fmt.Sprintf("host-%d", n)); v.State != verdict.Down || len(v.Failing) != 6 {
				t.Errorf("%s: %s", v.State, v.Words)
			}
		}
	})
}

// TestChurn parts, joins and fails at random; once all is calm every target is judged
// by one island, and as it is.
func TestChurn(t *testing.T) {
	const targets, steps = 12, 25
	for seed := range uint64(4) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			inBubble(t, func(ctx context.Context, s *sea) {
				s.t = t
				rnd := rand.New(rand.NewPCG(seed, 8))
				all := six(ctx, s, webs(targets, 6))
				for range steps {
					time.Sleep(time.Duration(1+rnd.IntN(40)) * time.Second)
					i, host := all[rnd.IntN(len(all))], fmt.Sprintf("host-%d", rnd.IntN(targets))
					switch rnd.IntN(3) {
					case 0:
						s.part(i.name, rnd.IntN(3))
					case 1:
						i.fail(host, "status")
					default:
						i.fail(host, "")
					}
				}
				for _, i := range all {
					s.part(i.name, 0)
				}
				time.Sleep(3 * calm)
				writers := 0
				for _, i := range all {
					writers += len(i.store.series(State))
				}
				if writers != targets {
					t.Errorf("%d series of states for %d targets", writers, targets)
				}
				for n := range targets {
					host, failing := fmt.Sprintf("host-%d", n), 0
					for _, i := range all {
						if i.down[host] != "" {
							failing++
						}
					}
					want := verdict.Up
					if failing >= 2 {
						want = verdict.Down
					}
					if v := all[n%6].verdict(host); v.State != want || len(v.Failing) != failing || len(v.Fine) != 6-failing {
						t.Errorf("%s fails from %d: %s: %s", host, failing, v.State, v.Words)
					}
				}
			})
		})
	}
}

// calm is longer than any state is held.
const calm = 6 * time.Minute

// TestCost: what many targets seen from six places take.
func TestCost(t *testing.T) {
	inBubble(t, func(ctx context.Context, s *sea) {
		six(ctx, s, webs(500, 6))
		time.Sleep(time.Minute)
		s.mu.Lock()
		first := s.b
		s.n, s.b = 0, 0
		s.mu.Unlock()
		time.Sleep(time.Minute)
		s.mu.Lock()
		defer s.mu.Unlock()
		perSecond := float64(s.b) / 60 / 6
		t.Logf("at first %d bytes; then %d messages, %.0f bytes a second for each island", first/6, s.n, perSecond)
		if perSecond > 200 {
			t.Errorf("%.0f bytes a second for each island while nothing changes", perSecond)
		}
	})
}

package share

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
	"github.com/atoll-mesh/atoll/health"
)

// net joins shares without any fault but those that a test asks for.
type net struct {
	t      *testing.T
	mu     sync.Mutex
	shares map[string]*Share
	listed []string
	cut    map[string]bool // islands that nothing reaches
	got    map[string][]emission
	log    lines
}

// lines is a log that several write.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newNet(t *testing.T) *net {
	return &net{t: t, shares: map[string]*Share{}, cut: map[string]bool{}, got: map[string][]emission{}}
}

func (n *net) members() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.listed
}

func (n *net) with(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// start brings an island in; it runs until the test ends or stop is called.
func (n *net) start(name string, set *rule.Set, change func(*Options)) (s *Share, stop func()) {
	return n.startFrom(name, set, nil, change)
}

// startFrom is start with a state, if there is one.
func (n *net) startFrom(name string, set *rule.Set, state []byte, change func(*Options)) (s *Share, stop func()) {
	o := Options{
		Self: name, Rules: set, Members: n.members, Transport: line{n, name}, Start: uint64(time.Now().UnixNano()),
		Publish: func(_ context.Context, samples []partial.Sample) error {
			for _, x := range samples {
				key := fmt.Sprintf("%s %s@%d", x.Labels.Get("__name__"), x.Labels.Get("job"), x.T)
				n.with(func() { n.got[key] = append(n.got[key], emission{name, x.V, x.Revision, false, 0}) })
			}
			return nil
		},
		Logger: slog.New(slog.NewTextHandler(&n.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		n.t.Fatal(err)
	}
	if state != nil {
		if err := s.Restore(bytes.NewReader(state)); err != nil {
			n.t.Fatal(err)
		}
	}
	n.with(func() { n.shares[name] = s })
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			n.t.Error(err)
		}
	}()
	var once sync.Once
	return s, func() {
		once.Do(func() {
			n.with(func() { delete(n.shares, name) })
			cancel()
			<-done
		})
	}
}

// line is a net as one island sees it.
type line struct {
	n    *net
	self string
}

func (l line) Send(ctx context.Context, to string, b []byte) ([]byte, error) {
	time.Sleep(5 * time.Millisecond)
	l.n.mu.Lock()
	s := l.n.shares[to]
	lost := s == nil || l.n.cut[to] || l.n.cut[l.self]
	l.n.mu.Unlock()
	if lost {
		return nil, errLost
	}
	return s.Handle(ctx, l.self, b)
}

// in is what was published of a series and window; by all islands.
func (n *net) in(series, job string, end int64) []emission {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.got[fmt.Sprintf("m:10s_by_job_%s %s@%d", series, job, end)]
}

// only is the one value of a series and window.
func (n *net) only(series, job string, end int64, want float64) {
	n.t.Helper()
	if es := n.in(series, job, end); len(es) != 1 || es[0].value != want || es[0].revision != 0 {
		n.t.Errorf("%s of %s at %d is %v, want %v once", series, job, end, es, want)
	}
}

func seal(t *testing.T, s *Share, w *partial.Window) {
	t.Helper()
	if err := s.Push(w); err != nil {
		t.Fatal(err)
	}
}

// empty is a window in which an island saw nothing.
func empty(s *Share, end int64) *partial.Window {
	return &partial.Window{Rule: s.o.Rules.Rules[0], End: end}
}

func row1(job string, increase float64) partial.Row {
	ls := labels.FromStrings("__name__", "m", "job", job)
	return partial.Row{Group: ls, Hash: ls.Hash(), Acc: partial.Acc{Increase: partial.Sum2{Hi: increase}}}
}

// jobs are groups of a rule of which an island has each of two roles at least once.
const jobs = 8

// What an island counted reaches one that gets the rule later: the parts, and the
// totals of before; and the difference is said while it lasts.
func TestRuleComesLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t)
		n.listed = []string{"a"}
		set, list := load(t, ruleText), health.New(nil)
		a, stopA := n.start("a", set, func(o *Options) { o.Health = list })
		defer stopA()
		base := set.Rules[0].Window(time.Now().UnixMilli())
		for k := range int64(3) {
			w := empty(a, base+10_000*k)
			for j := range jobs {
				w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), 1))
			}
			seal(t, a, w)
			time.Sleep(10 * time.Second)
		}
		n.with(func() { n.listed = []string{"a", "b"} })
		other := load(t, strings.Replace(ruleText, "10s", "20s", 1))
		b, stopB := n.start("b", other, nil)
		defer stopB()
		w := empty(a, base+30_000)
		for j := range jobs {
			w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), 1))
		}
		seal(t, a, w)
		time.Sleep(50 * time.Second)
		if active := list.Active(); len(active) != 0 {
			t.Errorf("warnings while a reload goes round: %v", active)
		}
		time.Sleep(20 * time.Second)
		active := list.Active()
		if len(active) != 1 || active[0].Code != "aggregate-rules-differ" || !strings.Contains(active[0].Text, "b does not have the rule "+fmt.Sprintf("%016x", set.Rules[0].Hash)) {
			t.Errorf("warnings are %v, want one that names rule and island", active)
		}
		if v := testutil.ToFloat64(a.m.unknown.WithLabelValues("b")); v != 1 {
			t.Errorf("%v unknown rules, want 1", v)
		}
		n.with(func() {
			if got := strings.Count(n.log.String(), "does not have a rule of shared aggregation; windows of the rule wait for it\" member=b"); got != 1 {
				t.Errorf("it is said %d times in the log, want once", got)
			}
		})
		b.o.Rules = set
		b.Reload(set)
		time.Sleep(10 * time.Second)
		seal(t, b, empty(b, base+30_000))
		for _, s := range []*Share{a, b} {
			w := empty(s, base+100_000)
			for j := range jobs {
				w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), 1))
			}
			seal(t, s, w)
		}
		time.Sleep(10 * time.Second)
		if active := list.Active(); len(active) != 0 {
			t.Errorf("warnings after the reload: %v", active)
		}
		by := map[string]bool{}
		for j := range jobs {
			job := fmt.Sprint("j", j)
			n.only("increase", job, base+30_000, 1)
			n.only("total", job, base+30_000, 4)
			n.only("total", job, base+100_000, 6)
			for _, e := range n.in("total", job, base+100_000) {
				by[e.node] = true
			}
		}
		if len(by) != 2 {
			t.Errorf("only %v published: the test proves nothing", by)
		}
	})
}

// A rule that goes and comes back before anybody asks begins anew, and is told all
// that it has forgotten.
func TestRuleGoesAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t)
		n.listed = []string{"a", "b"}
		set := load(t, ruleText)
		a, stopA := n.start("a", set, nil)
		defer stopA()
		b, stopB := n.start("b", set, nil)
		defer stopB()
		base := set.Rules[0].Window(time.Now().UnixMilli())
		round := func(end int64) {
			for _, s := range []*Share{a, b} {
				w := empty(s, end)
				if s == a {
					for j := range jobs {
						w.Rows = append(w.Rows, row1(fmt.Sprint("j", j), 1))
					}
				}
				seal(t, s, w)
			}
			time.Sleep(10 * time.Second)
		}
		round(base)
		round(base + 10_000)
		b.Reload(load(t, strings.Replace(ruleText, "10s", "20s", 1)))
		b.Reload(set)
		round(base + 20_000)
		for j := range jobs {
			n.only("total", fmt.Sprint("j", j), base+20_000, 3)
		}
	})
}

// TestSilentWithoutRules: islands that share nothing say nothing, and speak again
// when one has something to share.
func TestSilentWithoutRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t)
		n.listed = []string{"a", "b", "c"}
		none, some := &rule.Set{}, load(t, ruleText)
		shares := map[string]*Share{}
		for _, name := range n.listed {
			s, stop := n.start(name, none, nil)
			defer stop()
			shares[name] = s
		}
		time.Sleep(10 * time.Minute)
		sent := func() (sum float64) {
			for _, s := range shares {
				sum += testutil.ToFloat64(s.m.sentBytes)
			}
			return sum
		}
		if got := sent(); got != 0 {
			t.Errorf("islands without a rule to share said %v bytes", got)
		}
		shares["a"].Reload(some)
		time.Sleep(time.Minute)
		if got := testutil.ToFloat64(shares["b"].m.sentBytes); got == 0 {
			t.Error("an island that was spoken to says nothing")
		}
	})
}

// Where no rule is shared nothing is sent, so nobody is missed.
func TestNoRulesNoWarnings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNet(t)
		n.listed = []string{"a", "b", "c"}
		lists := map[string]*health.List{}
		for _, name := range n.listed {
			lists[name] = health.New(nil)
			_, stop := n.start(name, &rule.Set{}, func(o *Options) { o.Health = lists[name] })
			defer stop()
		}
		time.Sleep(5 * time.Minute)
		for name, list := range lists {
			if active := list.Active(); len(active) != 0 {
				t.Errorf("%s warns without any rule: %v", name, active)
			}
		}
	})
}

package bucket

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// TestAlsoRead attaches a bucket that a sidecar has filled: its blocks are named in the
// log and not read, until the configuration names their labels; never are they this
// island's own, and of a pair of Prometheis only the one that is named is read.
func TestAlsoRead(t *testing.T) {
	eachKind(t, func(t *testing.T, c Config) {
		of := func(labels map[string]string) func(*Options) { return func(o *Options) { o.Labels = labels } }
		old, twin := map[string]string{"cluster": "eu", "replica": "a"}, map[string]string{"cluster": "eu", "replica": "b"}
		sidecar, second := newSite(t), newSite(t)
		sidecar.cut(0)
		sidecar.cut(1)
		second.cut(0)
		want := local(t, sidecar.store, start, most, everything)
		sidecar.open(c, of(old)).settle(t)
		second.open(c, of(twin)).settle(t)

		var log bytes.Buffer
		s := newSite(t)
		own := s.cut(2)
		b := s.open(c, func(o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		for range 2 {
			b.settle(t)
			b.view.Store(&view{place: b.cur.Load(), strange: b.view.Load().strange}) // look again
		}
		b.settle(t)
		for _, labels := range []string{"cluster:eu replica:a", "cluster:eu replica:b"} {
			if n := strings.Count(log.String(), labels); n != 1 {
				t.Errorf("the log names %s %d times, want once:\n%s", labels, n, log.String())
			}
		}
		if q, err := b.Querier(start, start+4*hour-1); q != nil || err != nil {
			t.Errorf("another's blocks are read: %v, %v", q, err)
		}

		next := c
		next.AlsoRead = []map[string]string{{"cluster": "us"}, old}
		commit, _, err := b.Prepare(next, ownLabels)
		if err != nil {
			t.Fatal(err)
		}
		commit()
		b.settle(t)
		q, err := b.Querier(start, start+4*hour-1)
		if err != nil || q == nil {
			t.Fatalf("blocks that are to be read are not: %v, %v", q, err)
		}
		got, err := answer(t, q, everything)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("read back: %v %s", err, diff)
		}
		for kind, n := range map[string]float64{"own": 1, "adopted": 2, "others": 1, "downsampled": 0} {
			if got := testutil.ToFloat64(b.m.blocks.WithLabelValues(kind)); got != n {
				t.Errorf("%g blocks are %s, want %g", got, kind, n)
			}
		}
		if sources := b.view.Load().sources(); len(sources) != 1 || !sources[own.ULID] {
			t.Errorf("%v count as uploaded, want %s alone", sources, own.ULID)
		}
		if oldest, ok := b.Oldest(); !ok || oldest != start {
			t.Errorf("the oldest sample is at %d, %v, want %d", oldest, ok, start)
		}
	})
}

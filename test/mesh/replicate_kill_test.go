package mesh

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/url"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"

	"github.com/atoll-mesh/atoll/lab"
)

// slowStream takes a while for what old blocks hold.
const slowStream = `
replicate:
  streams:
    - {name: buddy, buddy: auto, keep: 24h, history: 24h, delay: 1s, budget: {per_second: 48KiB}}
`

// past is a sample of a block.
type past struct {
	t int64
	v float64
}

func (p past) ST() int64                     { return 0 }
func (p past) T() int64                      { return p.t }
func (p past) F() float64                    { return p.v }
func (p past) H() *histogram.Histogram       { return nil }
func (p past) FH() *histogram.FloatHistogram { return nil }
func (p past) Type() chunkenc.ValueType      { return chunkenc.ValFloat }
func (p past) Copy() chunks.Sample           { return p }

// bury puts blocks of old samples into the store of an island that does not run, and
// returns how many.
func bury(t *testing.T, at *site, hours, series int) (n int) {
	t.Helper()
	const hour = 3_600_000
	begin := time.Now().UnixMilli()/(2*hour)*(2*hour) - int64(hours+2)*hour
	for from := begin; from < begin+int64(hours)*hour; from += 2 * hour {
		var all []storage.Series
		for i := range series {
			var of []chunks.Sample
			for ts := from; ts < from+2*hour; ts += 15_000 {
				of = append(of, past{ts, rand.Float64()})
				n++
			}
			all = append(all, storage.NewListSeries(labels.FromStrings("__name__", "drops", "old", fmt.Sprint(i)), of))
		}
		if _, err := tsdb.CreateBlock(all, filepath.Join(at.data(), "tsdb"), 4*hour, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// TestReplicationKillNine kills the sender and the receiver of a stream, again and
// again and at any moment, while it goes through old blocks and new samples come in.
// In the end the copy has each sample that the origin took, once.
func TestReplicationKillNine(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	origin := newSite(t, l.Public("eu-1", lab.LinkOptions{Region: "eu"}), "eu").with(slowStream)
	buddy := newSite(t, l.Public("us-1", lab.LinkOptions{Region: "us"}), "us")
	old := bury(t, origin, 4, 100)
	allUp(origin, buddy)
	found(t, buddy, origin)
	meshed(t, origin, buddy)
	drops := newFeed(t, origin, "drops", 5, 10, time.Second, time.Now())

	kills := 4
	if long() {
		kills = 12
	}
	newest := int64(0)
	for n := range kills {
		eventually(t, time.Minute, "the copy gets on", func() error {
			st, err := buddy.copies()
			if err != nil {
				return err
			}
			if len(st.Copies) != 1 || st.Copies[0].Newest <= newest {
				return fmt.Errorf("newest is still %d: %s", newest, show(st))
			}
			newest = st.Copies[0].Newest
			return nil
		})
		pause := time.Duration(rand.IntN(1000)) * time.Millisecond
		wait(t, pause)
		victim := []*site{buddy, origin}[n%2]
		victim.kill()
		t.Logf("%s killed %s after the copy had samples of %s ago", victim.name, pause, time.Since(time.UnixMilli(newest)).Round(time.Second))
		victim.up()
	}
	wait(t, 3*time.Second)
	drops.stop()
	end := time.Now()
	copied(t, buddy, drops.ticks[len(drops.ticks)-1].at, 2*time.Minute)

	raw := func() url.Values { return url.Values{"query": {`drops{island="eu-1"}[24h]`}} }
	want, _, err := buddy.drops(raw(), end)
	if fed := len(drops.ticks) * len(drops.values); err != nil || len(want) < old+fed {
		t.Fatalf("%d samples at the origin, which was given %d and took %d: %v", len(want), old, fed, err)
	}
	counts, _, err := buddy.drops(url.Values{"query": {`count_over_time(drops{island="eu-1"}[24h])`}}, end)
	if err != nil {
		t.Fatal(err)
	}
	origin.kill()
	fromCopy(t, buddy, raw(), end, want, "us-1")
	eventually(t, 30*time.Second, "the copy has each sample once", func() error {
		got, _, err := buddy.drops(url.Values{"query": {`count_over_time(drops{island="eu-1"}[24h])`}}, end)
		if err == nil && !maps.Equal(got, counts) {
			err = errors.New("it counts otherwise")
		}
		return err
	})
	t.Logf("%d samples of blocks and %d new ones", old, len(want)-old)
}

// TestReplicationGivesWay asks questions over a link that a stream fills for a
// minute or more: each is answered by the island itself, long before a copy or the
// end of what the stream has to send.
func TestReplicationGivesWay(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	narrow := lab.LinkOptions{Region: "eu", Rate: 1e6, Delay: 10 * time.Millisecond}
	origin := newSite(t, l.Public("eu-1", narrow), "eu").with(`
replicate:
  streams:
    - {name: buddy, buddy: auto, keep: 24h, history: 24h, delay: 1s}
`)
	buddy := newSite(t, l.Public("us-1", lab.LinkOptions{Region: "us"}), "us")
	old := bury(t, origin, 6, 600)
	allUp(origin, buddy)
	found(t, buddy, origin)
	meshed(t, origin, buddy)
	eventually(t, time.Minute, "the stream fills the link", func() error {
		st, err := origin.copies()
		if err != nil {
			return err
		}
		if len(st.Streams) != 1 || st.Streams[0].SpentToday < 500<<10 {
			return errors.New(show(st))
		}
		return nil
	})
	const each = 20 * time.Second // after half of it a copy is asked
	for n := range 5 {
		begin := time.Now()
		a, err := buddy.within(each, 10*time.Second, "query", url.Values{"query": {`up{island="eu-1"}`}})
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range a.Receipt.Islands {
			if i.Name == "eu-1" && (i.State != "answered" || i.From != "") {
				t.Errorf("question %d: %s", n, show(a.Receipt))
			}
		}
		t.Logf("answered after %s", time.Since(begin).Round(time.Millisecond))
	}
	st, err := origin.copies()
	if err != nil || len(st.Streams) != 1 || st.Streams[0].Error != "" || st.Streams[0].Newest > time.Now().Add(-2*time.Hour).UnixMilli() {
		t.Errorf("the stream was to send %d samples for longer than the questions took: %v %s", old, err, show(st))
	}
}

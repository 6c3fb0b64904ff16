package aggregate

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// replica sends one sample of a counter that two replicas scrape.
func (i *islander) replica(value float64) {
	i.t.Helper()
	app := i.door.AppenderV2(i.t.Context())
	ls := labels.FromStrings("__name__", "c", "instance", "shop", "job", "j", "replica", i.name)
	if _, err := app.Append(0, ls, 0, time.Now().UnixMilli(), value, nil, nil, storage.AOptions{}); err != nil {
		i.t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		i.t.Fatal(err)
	}
}

// TestReplicasOnTwoIslands: what two replicas send to two islands counts once, also
// when one of the islands restarts.
func TestReplicasOnTwoIslands(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir()}
	b := &between{members: map[string]*islander{}}
	synctest.Test(t, func(t *testing.T) {
		for n, dir := range dirs {
			b.add(t, dir, string(rune('a'+n))).start()
		}
		all := []*islander{b.members["a"], b.members["b"]}
		for step := range 120 {
			if step == 50 {
				all[0].stop()
				all[0].start()
			}
			for _, i := range all {
				i.replica(float64(step))
				time.Sleep(time.Second)
			}
		}
		time.Sleep(5 * time.Minute)
		for _, i := range all {
			i.stop()
		}
	})
	for _, i := range b.members {
		for ls, points := range i.out.series {
			if !strings.Contains(ls, "total") {
				continue
			}
			last := slices.Max(slices.Collect(maps.Keys(points)))
			if points[last] != 119 {
				t.Errorf("%s is %v in the end, want 119", ls, points[last])
			}
			return
		}
	}
	t.Error("no total was published")
}

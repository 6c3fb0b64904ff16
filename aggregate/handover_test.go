package aggregate

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// leave has an island leave the others, in the order in which an island does.
func (i *islander) leave() {
	i.t.Helper()
	ctx, cancel := context.WithTimeout(i.t.Context(), 15*time.Second)
	defer cancel()
	if err := i.up.HandOver(ctx); err != nil {
		i.t.Error(err)
	}
	i.b.mu.Lock()
	delete(i.b.members, i.name)
	i.b.mu.Unlock()
	i.end[0]()
	i.end = i.end[1:]
	i.up.Leave()
}

// TestLeaving: what an island saw until it left is in the windows and totals of the
// others, and what it sees afterwards in its own, of which the network knows nothing.
func TestLeaving(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	b := &between{members: map[string]*islander{}}
	var all []*islander
	left := int64(0)
	synctest.Test(t, func(t *testing.T) {
		for n, dir := range dirs {
			i := b.add(t, dir, string(rune('a'+n)))
			all = append(all, i)
			i.start()
		}
		leaver := all[1]
		for step := range 120 {
			if step == 63 { // in the midst of a window
				leaver.leave()
				left = time.Now().UnixMilli()
			}
			for _, i := range all {
				i.feed(step)
			}
			time.Sleep(2 * time.Second)
		}
		time.Sleep(5 * time.Minute)
		for _, i := range all {
			i.stop()
		}
	})
	got, own := map[string]map[int64]float64{}, map[string]map[int64]float64{}
	for _, i := range all {
		for ls, points := range i.out.series {
			for ts, v := range points {
				to := got
				if i == all[1] && ts > left+10_000 {
					to = own
				}
				if to[ls] == nil {
					to[ls] = map[int64]float64{}
				}
				if _, twice := to[ls][ts]; twice {
					t.Errorf("%s at %d is published by two islands", ls, ts)
				}
				to[ls][ts] = v
			}
		}
	}
	for ls, points := range got {
		last := points[slices.Max(slices.Collect(maps.Keys(points)))]
		switch {
		case strings.Contains(ls, "total") && last != 119+119+62:
			t.Errorf("%s is %v at the end, want the growth of two islands, and of the third to its leaving: %d", ls, last, 119+119+62)
		case strings.Contains(ls, "increase"):
			sum := 0.0
			for _, v := range points {
				sum += v
			}
			if sum != 119+119+62 {
				t.Errorf("the windows of %s add up to %v, want %d", ls, sum, 119+119+62)
			}
		}
	}
	if len(own) != 6 {
		t.Errorf("the island that left makes %d series alone, want 6", len(own))
	}
	for ls, points := range own {
		for ts, v := range points {
			if strings.Contains(ls, "count_series") && v != 1 {
				t.Errorf("%s at %d: %v series, want its own one", ls, ts, v)
			}
		}
	}
}

// TestStaying: an island that could not hand over in time goes on with the others, and
// nothing is lost in between.
func TestStaying(t *testing.T) {
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	b := &between{members: map[string]*islander{}}
	var all []*islander
	synctest.Test(t, func(t *testing.T) {
		for n, dir := range dirs {
			i := b.add(t, dir, string(rune('a'+n)))
			all = append(all, i)
			i.start()
		}
		for step := range 120 {
			if step == 63 {
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := all[1].up.HandOver(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("handing over without time: %v", err)
				}
			}
			if step == 75 { // windows have waited
				all[1].up.Stay()
			}
			for _, i := range all {
				i.feed(step)
			}
			time.Sleep(2 * time.Second)
		}
		time.Sleep(5 * time.Minute)
		for _, i := range all {
			i.stop()
		}
	})
	got := map[string]map[int64]float64{}
	for _, i := range all {
		for _, text := range i.out.changed {
			t.Errorf("published again with another value: %s", text)
		}
		for ls, points := range i.out.series {
			if got[ls] == nil {
				got[ls] = map[int64]float64{}
			}
			for ts, v := range points {
				if _, twice := got[ls][ts]; twice {
					t.Errorf("%s at %d is published by two islands", ls, ts)
				}
				got[ls][ts] = v
			}
		}
	}
	for ls, points := range got {
		last := points[slices.Max(slices.Collect(maps.Keys(points)))]
		if strings.Contains(ls, "total") && last != 3*119 {
			t.Errorf("%s is %v at the end, want %d", ls, last, 3*119)
		}
	}
	if len(got) != 6 {
		t.Errorf("there are %d series, want 6", len(got))
	}
}

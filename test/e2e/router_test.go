package e2e

import (
	"fmt"
	"testing"
	"time"
)

// TestRouter lets an island shard what it receives over two others: each series
// goes to one of them, nothing stays, and what comes while one is down arrives
// when it is back.
func TestRouter(t *testing.T) {
	backends := []*island{newIsland(t, quiet).up(), newIsland(t, quiet).up()}
	router := newIsland(t, quiet+fmt.Sprintf(`
aggregate:
  router:
    ignore_labels: [le]
    backends:
      - url: http://%s/api/v1/write
      - url: http://%s/api/v1/write
`, backends[0].addr, backends[1].addr)).up()
	w := newWriter(t, router, 200)
	begin := time.Now().Add(-time.Minute)
	send := func(n int) {
		t.Helper()
		if err := w.send(begin.Add(time.Duration(n) * time.Second).UnixMilli()); err != nil {
			t.Fatal(err)
		}
	}
	samples := func(i *island) float64 {
		v, err := i.value(`sum(count_over_time(e2e_sample[10m])) or vector(0)`)
		if err != nil {
			t.Logf("%s: %v", i.addr, err)
		}
		return v
	}
	arrived := func(want float64) func() error {
		return func() error {
			if got := samples(backends[0]) + samples(backends[1]); got != want {
				return fmt.Errorf("%v samples arrived, want %v", got, want)
			}
			return nil
		}
	}
	for n := range 5 {
		send(n)
	}
	eventually(t, 20*time.Second, "all samples at the backends", arrived(5*200))
	for _, b := range backends {
		if n, err := b.value(`count(e2e_sample)`); err != nil || n < 60 || n > 140 {
			t.Errorf("a backend has %v of 200 series (%v), want about half", n, err)
		}
	}

	backends[1].kill()
	for n := 5; n < 10; n++ {
		send(n)
	}
	router.kill()
	router.up()
	backends[1].up()
	eventually(t, 60*time.Second, "what came meanwhile", arrived(10*200))
	if n := samples(router); n != 0 {
		t.Errorf("the router stored %v samples, want none", n)
	}
}

package demo

import (
	"context"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBurst(t *testing.T) {
	s := schedule{every: 4 * time.Minute, length: time.Minute, first: time.Minute, began: time.Unix(1e9, 0)}
	for _, tc := range []struct {
		after  time.Duration
		on     bool
		change time.Duration
	}{
		{0, false, time.Minute},
		{59 * time.Second, false, time.Second},
		{time.Minute, true, time.Minute},
		{119 * time.Second, true, time.Second},
		{2 * time.Minute, false, 3 * time.Minute},
		{5*time.Minute - time.Second, false, time.Second},
		{5 * time.Minute, true, time.Minute},
		{6 * time.Minute, false, 3 * time.Minute},
		{-time.Second, false, 61 * time.Second}, // a clock set back
	} {
		if on, change := s.burst(s.began.Add(tc.after)); on != tc.on || change != tc.change {
			t.Errorf("after %s: %v for %s, want %v for %s", tc.after, on, change, tc.on, tc.change)
		}
	}
}

func TestRateIsADay(t *testing.T) {
	s := schedule{day: 6 * time.Minute, began: time.Unix(1e9, 0)}
	at := func(hour float64) float64 {
		return s.rate(s.began.Add(time.Duration((hour - 8) / 24 * float64(s.day))))
	}
	night, noon, afternoon, evening := at(28), at(11), at(15.5), at(20)
	if !(night < afternoon && afternoon < noon && noon < evening) {
		t.Errorf("night %.1f, noon %.1f, afternoon %.1f, evening %.1f", night, noon, afternoon, evening)
	}
	for h := 8.0; h < 56; h += 0.1 {
		if r := at(h); r < quietRate || r > busyRate || math.IsNaN(r) {
			t.Errorf("%.1f h: %v a second is out of bounds", h, r)
		}
		if jump := math.Abs(at(h) - at(h+0.1)); jump > 1 {
			t.Errorf("%.1f h: jumps by %.1f a second", h, jump)
		}
	}
}

func TestVisitsAddUp(t *testing.T) {
	seen := map[string]int{}
	for n := range 100 {
		method, path := visit(n)
		seen[method+" "+regexp.MustCompile(`\d+`).ReplaceAllString(path, "")]++
	}
	for _, v := range visits() {
		if got := seen[v.method+" "+v.path]; got != v.weight {
			t.Errorf("%s %s: %d of a hundred, want %d", v.method, v.path, got, v.weight)
		}
	}
}

// value sums the samples of a metric whose line holds all of labels.
func value(t *testing.T, exposition, metric string, labels ...string) float64 {
	t.Helper()
	sum := 0.0
line:
	for line := range strings.Lines(exposition) {
		if !strings.HasPrefix(line, metric+"{") {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(line, l) {
				continue line
			}
		}
		v, err := strconv.ParseFloat(strings.Fields(line[strings.LastIndex(line, "}")+1:])[0], 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		sum += v
	}
	return sum
}

func TestShopBreaksInBurstsOnly(t *testing.T) {
	s, err := openShop(newWorld(nil, quiet()), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	defer http.DefaultClient.CloseIdleConnections()
	checkouts := func(n int) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				if code, err := s.call(t.Context(), frontendAt, s.entrance(), "POST", "/checkout", newTrace()); err != nil || code >= 400 {
					t.Errorf("checkout: %d, %v", code, err)
				}
			})
		}
		wg.Wait()
	}
	payment, cart := s.services[0], s.services[1]
	s.setSchedule(schedule{every: 4 * time.Hour, length: time.Hour, first: time.Hour, day: time.Hour, began: time.Now()})
	checkouts(40)
	text := get(t, payment.url()+"/metrics")
	if ok, bad := value(t, text, "shop_http_requests_total", `code="200"`), value(t, text, "shop_http_requests_total", `code="500"`); ok != 40 || bad != 0 {
		t.Errorf("calm: %v paid, %v failed", ok, bad)
	}

	s.setSchedule(schedule{every: 4 * time.Hour, length: time.Hour, first: time.Hour, day: time.Hour, began: time.Now().Add(-90 * time.Minute)})
	checkouts(60)
	// 60 tries at 40 %: fewer than 5 failures have a chance below one in 10^7.
	if bad := value(t, get(t, payment.url()+"/metrics"), "shop_http_requests_total", `code="500"`); bad < 5 {
		t.Errorf("burst: %v failed", bad)
	}
	text = get(t, cart.url()+"/metrics")
	if bad := value(t, text, "shop_http_requests_total", `code="5`); bad != 0 {
		t.Errorf("cart passes %v failures on", bad)
	}
	if n := value(t, text, "shop_queue_length", `service="cart"`); n < 1 {
		t.Errorf("queue length %v", n)
	}

	s.setSchedule(schedule{every: 4 * time.Hour, length: time.Hour, first: time.Hour, day: time.Hour, began: time.Now()})
	before := s.queue.Load()
	waitFor(t, "the queue to shrink", 30*time.Second, func() bool { return s.queue.Load() < before })
}

func TestShopExposesExemplarsAndInFlight(t *testing.T) {
	s, err := openShop(newWorld(nil, quiet()), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if _, err := s.call(t.Context(), frontendAt, s.entrance(), "GET", "/product/17", "00000000000000aa"); err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodGet, s.entrance().url()+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", "application/openmetrics-text")
	resp, err := s.clients[frontendAt].Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b strings.Builder
	if err := resp.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`shop_http_requests_total{code="200",route="/product/{id}",service="frontend"} 1`,
		`trace_id="00000000000000aa"`,
		`shop_http_requests_in_flight{service="frontend"} 0`,
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("misses %s in:\n%s", want, b.String())
		}
	}
}

func TestTrafficStops(t *testing.T) {
	s, err := openShop(newWorld(nil, quiet()), quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.setSchedule(schedule{every: time.Hour, length: time.Minute, first: time.Minute, day: time.Hour, began: time.Now()})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { s.traffic(ctx); close(done) }()
	waitFor(t, "visitors", 20*time.Second, func() bool {
		return value(t, get(t, s.entrance().url()+"/metrics"), "shop_http_requests_total") >= 5
	})
	cancel()
	<-done
	http.DefaultClient.CloseIdleConnections()
}

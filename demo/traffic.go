package demo

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// atOnce bounds the visitors in the shop; more turn away at the door.
const atOnce = 64

// visitKind is one thing visitors do, and how many of a hundred do it.
type visitKind struct {
	weight       int
	method, path string
}

// visits have weights that add up to 100.
func visits() []visitKind {
	return []visitKind{
		{30, http.MethodGet, "/"},
		{30, http.MethodGet, "/product/"},
		{10, http.MethodGet, "/cart"},
		{10, http.MethodPost, "/cart"},
		{20, http.MethodPost, "/checkout"},
	}
}

// traffic sends visitors until ctx ends and waits for those inside. Arrivals
// are independent of each other, as those of many people are.
func (s *shop) traffic(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	door := make(chan struct{}, atOnce)
	for {
		rate := s.schedule.Load().rate(time.Now())
		if !pause(ctx, time.Duration(rand.ExpFloat64()/rate*float64(time.Second))) {
			return
		}
		select {
		case door <- struct{}{}:
		default:
			continue
		}
		method, path := visit(rand.IntN(100))
		wg.Go(func() {
			defer func() { <-door }()
			if _, err := s.call(ctx, frontendAt, s.entrance(), method, path, newTrace()); err != nil && ctx.Err() == nil {
				s.log.Warn("visitor got no answer", "path", path, "err", err)
			}
		})
	}
}

// visit picks by a number from 0 to 99.
func visit(n int) (method, path string) {
	for _, v := range visits() {
		if n < v.weight {
			if strings.HasSuffix(v.path, "product/") {
				return v.method, v.path + strconv.Itoa(1+rand.IntN(500))
			}
			return v.method, v.path
		}
		n -= v.weight
	}
	return http.MethodGet, "/"
}

// routeOf strips the method and the end anchor from a mux pattern.
func routeOf(pattern string) string {
	_, path, _ := strings.Cut(pattern, " ")
	return strings.TrimSuffix(path, "{$}")
}

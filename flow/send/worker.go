package send

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// flush is what a shard sends at one time: samples in order, then the late ones
// in a request of their own.
type flush struct {
	items, late []item
	// end is the place in the WAL up to which the shard is done once this is sent.
	end position
	// low is the lowest timestamp in it, ms.
	low int64
	// fill marks samples that come from the store.
	fill bool
	// tried says that a request with it was made; guarded by pump.mu.
	tried bool
}

func (f *flush) len() int { return len(f.items) + len(f.late) }

// shard keeps the order of its series: one request at a time.
type shard struct {
	queue chan *flush
	// pending are the flushes queued or in flight, oldest first; guarded by pump.mu.
	pending []*flush

	// The rest belongs to the goroutine that reads the WAL.
	building *flush
	since    time.Time
	batch    uint64
	// skip is the place up to which everything was delivered before a restart;
	// repeat is where the request ends that may have been.
	skip, repeat position
}

// outlook is what the workers learn about the remote.
type outlook struct {
	mu sync.Mutex
	// failing is when the present run of failures began; zero if the last request worked.
	failing time.Time
	// refused is when the remote last answered 4xx.
	refused   time.Time
	lastError string
	lastGood  time.Time
}

func (o *outlook) good() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failing, o.lastGood = time.Time{}, time.Now()
}

func (o *outlook) bad(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.failing.IsZero() {
		o.failing = time.Now()
	}
	o.lastError = err.Error()
}

func (o *outlook) refuse(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failing, o.refused = time.Time{}, time.Now()
	o.lastError = err.Error()
}

// work sends the flushes of one shard until quit is closed or ctx ends. quit lets
// the request in flight end; ctx cuts it off.
func (p *pump) work(ctx context.Context, quit <-chan struct{}, i int, queue <-chan *flush) {
	enc := newEncoder(p.spec.Load().v2())
	for {
		select {
		case <-quit:
			return
		default:
		}
		select {
		case <-quit:
			return
		case f := <-queue:
			p.sending(i, f)
			for _, items := range [][]item{f.items, f.late} {
				if !p.deliver(ctx, quit, enc, items, f.fill) {
					return
				}
			}
			p.delivered(i, f)
		}
	}
}

// deliver sends items until the remote takes or refuses them. It returns false if
// it was stopped before.
func (p *pump) deliver(ctx context.Context, quit <-chan struct{}, enc encoder, items []item, fill bool) bool {
	queue := p.spec.Load().config.QueueConfig
	backoff := time.Duration(queue.MinBackoff)
	var body []byte
	for attempt := 0; ; attempt++ {
		kept := p.dropOld(items)
		if len(kept) == 0 {
			return true
		}
		if body == nil || len(kept) != len(items) {
			var err error
			if body, err = enc.encode(kept); err != nil {
				p.log.Error("dropping samples that cannot be encoded", "samples", len(kept), "err", err)
				p.drop(dropUnencodable, len(kept))
				return true
			}
		}
		items = kept
		wait, again := p.attempt(ctx, body, items, attempt, fill)
		if !again {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if wait == 0 {
			wait = backoff
		}
		backoff = min(backoff*2, time.Duration(queue.MaxBackoff))
		p.m.retries.WithLabelValues(p.name).Inc()
		select {
		case <-quit:
			return false
		case <-time.After(wait):
		}
	}
}

// attempt makes one request and says whether, and after what Retry-After, to try again.
func (p *pump) attempt(ctx context.Context, body []byte, items []item, attempt int, fill bool) (wait time.Duration, again bool) {
	s := p.spec.Load()
	begin := time.Now()
	stats, r, err := s.client.Store(ctx, body, attempt)
	p.m.seconds.WithLabelValues(p.name).Observe(time.Since(begin).Seconds())
	written := stats.AllSamples()
	switch {
	case err == nil && s.v2() && written < len(items):
		// Remote write 2.0 demands the counts; without them the receiver most
		// likely took the body for something else.
		p.outlook.refuse(fmt.Errorf("the receiver answered %d and says it wrote %d of %d samples", r.Status, written, len(items)))
		p.drop(dropNotWritten, len(items)-written)
	case err == nil:
		p.outlook.good()
		written = len(items)
	case r.Again():
		if ctx.Err() == nil {
			p.outlook.bad(err)
			p.log.Debug("request failed, trying again", "attempt", attempt, "err", err)
		}
		return r.RetryAfter, true
	default:
		written = min(written, len(items))
		p.outlook.refuse(err)
		p.log.Warn("receiver refused samples", "samples", len(items)-written, "oldest", items[0].t, "err", err)
		p.drop(dropRejected, len(items)-written)
	}
	p.count(items, written, len(body), fill)
	return 0, false
}

func (p *pump) count(items []item, written, bytes int, fill bool) {
	if written <= 0 {
		return
	}
	p.m.sent.WithLabelValues(p.name).Add(float64(written))
	p.m.bytes.WithLabelValues(p.name).Add(float64(bytes))
	if fill {
		p.m.backfilled.WithLabelValues(p.name).Add(float64(written))
	}
	n := 0
	for i := range items {
		n += len(items[i].ex)
	}
	p.m.exemplars.WithLabelValues(p.name).Add(float64(n))
}

func (p *pump) drop(reason string, n int) {
	p.m.dropped.WithLabelValues(p.name, reason).Add(float64(n))
}

// dropOld honours sample_age_limit, also between attempts.
func (p *pump) dropOld(items []item) []item {
	limit := time.Duration(p.spec.Load().config.QueueConfig.SampleAgeLimit)
	if limit == 0 {
		return items
	}
	oldest := time.Now().Add(-limit).UnixMilli()
	kept := items
	for i := range items {
		if items[i].t < oldest {
			kept = make([]item, 0, len(items))
			for _, it := range items {
				if it.t >= oldest {
					kept = append(kept, it)
				}
			}
			p.drop(dropTooOld, len(items)-len(kept))
			break
		}
	}
	return kept
}

// sending puts on disk where the request ends, before it is sent.
func (p *pump) sending(i int, f *flush) {
	if f.fill {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	f.tried = true
	p.state.Shards[i].InFlight = f.end
	p.saveLocked()
}

func (p *pump) delivered(i int, f *flush) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shards[i].pending = p.shards[i].pending[1:]
	for _, items := range [][]item{f.items, f.late} {
		for k := range items {
			p.state.Newest = max(p.state.Newest, items[k].t)
		}
	}
	if !f.fill {
		p.state.Shards[i].Acked = f.end
		p.saveLocked()
	}
	select {
	case p.progress <- struct{}{}:
	default:
	}
}

// startWorkers starts the shards. Those of the live path go on where the state says;
// those that fill a gap have no place in the WAL.
func (p *pump) startWorkers(ctx context.Context, fill bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	queue := p.spec.Load().config.QueueConfig
	depth := max(1, queue.Capacity/queue.MaxSamplesPerSend)
	p.shards = make([]*shard, len(p.state.Shards))
	p.quit = make(chan struct{})
	var wctx context.Context
	wctx, p.cut = context.WithCancel(context.WithoutCancel(ctx))
	quit := p.quit
	for i, st := range p.state.Shards {
		sh := &shard{queue: make(chan *flush, depth)}
		if !fill {
			sh.skip, sh.repeat = st.Acked, st.InFlight
		}
		p.shards[i] = sh
		p.wg.Go(func() { p.work(wctx, quit, i, sh.queue) })
	}
	p.m.shards.WithLabelValues(p.name).Set(float64(len(p.shards)))
}

// stopWorkers lets requests in flight end for at most grace.
func (p *pump) stopWorkers(grace time.Duration) {
	if p.quit == nil {
		return
	}
	close(p.quit)
	p.quit = nil
	ended := make(chan struct{})
	go func() { p.wg.Wait(); close(ended) }()
	if grace > 0 {
		select {
		case <-ended:
		case <-time.After(grace):
		}
	}
	p.cut()
	<-ended
}

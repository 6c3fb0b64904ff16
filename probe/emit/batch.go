package emit

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

const (
	// batchFor is for how long a transaction waits for more, batchMost what it holds at
	// most, in samples.
	batchFor  = 100 * time.Millisecond
	batchMost = 5000
)

// Batch has transactions that come one soon after the other share one of the store's:
// to begin and to end one costs more than the samples of a probe. It implements
// storage.AppendableV2 for writers that do not roll back.
type Batch struct {
	store storage.AppendableV2
	// lost hears of each transaction of the store that failed, and of how many were in it.
	lost func(err error, transactions int)

	mu sync.Mutex // held from AppenderV2 to Commit
	// app is the store's, nil while there is none.
	app          storage.AppenderV2
	transactions int
	samples      int
	round        uint64
}

// NewBatch starts nothing.
func NewBatch(store storage.AppendableV2, lost func(err error, transactions int)) *Batch {
	return &Batch{store: store, lost: lost}
}

// AppenderV2 implements storage.AppendableV2. Others wait until it is committed.
func (b *Batch) AppenderV2(ctx context.Context) storage.AppenderV2 {
	b.mu.Lock()
	if b.app == nil {
		b.app = b.store.AppenderV2(context.WithoutCancel(ctx)) // it outlives this one
		b.round++
		round := b.round
		time.AfterFunc(batchFor, func() { b.flush(round) })
	}
	return part{b}
}

// Flush commits what is there.
func (b *Batch) Flush() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.commit()
}

// flush commits one transaction unless that is done.
func (b *Batch) flush(round uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.round == round {
		b.commit()
	}
}

func (b *Batch) commit() {
	if b.app == nil {
		return
	}
	app, n := b.app, b.transactions
	b.app, b.transactions, b.samples = nil, 0, 0
	if err := app.Commit(); err != nil {
		b.lost(err, n)
	}
}

// part is one transaction of a batch.
type part struct{ b *Batch }

// Append implements storage.AppenderV2.
func (p part) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, o storage.AOptions) (storage.SeriesRef, error) {
	p.b.samples++
	return p.b.app.Append(ref, ls, st, t, v, h, fh, o)
}

// Commit implements storage.AppenderV2: whether the store takes it comes out later.
func (p part) Commit() error {
	p.b.transactions++
	if p.b.samples >= batchMost {
		p.b.commit()
	}
	p.b.mu.Unlock()
	return nil
}

// Rollback implements storage.AppenderV2. What is appended stays: it is with others'.
func (p part) Rollback() error { return p.Commit() }

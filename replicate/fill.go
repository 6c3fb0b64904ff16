package replicate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/atoll-mesh/atoll/flow/columnar"
	"github.com/atoll-mesh/atoll/flow/columnar/plane"
)

const (
	// mostSlice is the longest stretch of time that is read at once, in ms, and
	// sliceSamples about how many samples that should be.
	mostSlice    = 10 * 60_000
	leastSlice   = 15_000
	sliceSamples = 1 << 18
	// catalogBytes is how large a frame that asks about series may be in memory.
	catalogBytes = 4 << 20
	// future is how far ahead of the clock a sample may be.
	future = time.Hour
)

// catalog names the series that have samples since from and learns which of
// these the receiver has.
func (l *line) catalog(ctx context.Context, from int64) error {
	var batch columnar.Batch
	ask := func() error {
		if len(batch.Metadata) == 0 {
			return nil
		}
		if err := l.push(ctx, batch, false, true); err != nil {
			return err
		}
		select {
		case column := <-l.haves:
			return l.o.learn(batch.Metadata, column)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	var names []labels.Labels
	hints := &storage.SelectHints{Start: from, End: math.MaxInt64, Func: "series"}
	err := l.o.each(ctx, from, math.MaxInt64, hints, nil, func(s storage.Series) error {
		names = append(names, s.Labels().Copy())
		return nil
	})
	size := 0
	for _, ls := range names {
		if err != nil {
			return err
		}
		if ref, ok := l.o.ref(ls); ok {
			batch.Metadata = append(batch.Metadata, columnar.Metadata{Ref: ref, Metadata: metadata.Metadata{}})
			ls.Range(func(l labels.Label) { size += len(l.Name) + len(l.Value) + plane.LabelCost })
		}
		if size >= catalogBytes || len(batch.Metadata) == 1<<14 {
			err = ask()
			batch.Metadata, size = nil, 0
		}
	}
	if err != nil {
		return err
	}
	return ask()
}

// learn takes what the receiver has of series.
func (o *outlet) learn(asked []columnar.Metadata, column []byte) error {
	newest, err := readHave(column, len(asked))
	if err != nil {
		return err
	}
	for i, t := range newest {
		o.sent[asked[i].Ref] = t
	}
	return nil
}

// each hands over the chosen series that have samples in a stretch of time. opened
// is called when what was committed so far is sure to be among them.
func (o *outlet) each(ctx context.Context, from, to int64, hints *storage.SelectHints, opened func(), do func(storage.Series) error) (err error) {
	q, err := o.store.Querier(from, to)
	if err != nil {
		return fmt.Errorf("read the store: %w", err)
	}
	defer func() { err = errors.Join(err, q.Close()) }()
	if opened != nil {
		opened()
	}
	lists := o.match
	if len(lists) == 0 {
		lists = selectors{{labels.MustNewMatcher(labels.MatchRegexp, labels.MetricName, ".*")}}
	}
	for i, ms := range lists {
		set := q.Select(ctx, false, hints, ms...)
		for set.Next() {
			s := set.At()
			if i > 0 && o.match[:i].fit(s.Labels()) {
				continue // it was among those of an earlier selector
			}
			if err := do(s); err != nil {
				return err
			}
		}
		if err := set.Err(); err != nil {
			return fmt.Errorf("read the store: %w", err)
		}
	}
	return ctx.Err()
}

// catchUp sends what the store has since from, and then has the intake open.
func (l *line) catchUp(ctx context.Context, from int64) error {
	o := l.o
	if o.slice == 0 {
		o.slice = mostSlice
	}
	for {
		from = o.bound(from)
		to, last := int64(math.MaxInt64), from == never || time.Now().UnixMilli()-from <= o.slice
		if last {
			from = min(from, o.in.begin())
			o.mark, o.since = 0, from
		} else {
			to = from + o.slice - 1
		}
		if from != never {
			if err := l.fill(ctx, from, to, last); err != nil {
				o.in.close(from)
				return err
			}
		}
		if last {
			return nil
		}
		from = to + 1
	}
}

// fill sends what of the store's samples from a stretch of time was not sent.
func (l *line) fill(ctx context.Context, from, to int64, last bool) error {
	o := l.o
	o.batch = o.batch[:0]
	overlap := o.late() > 0
	hints := &storage.SelectHints{Start: from, End: to, DisableTrimming: false}
	opened := func() {
		if last {
			o.mark = o.in.mark()
		}
	}
	var it chunkenc.Iterator
	err := o.each(ctx, from, to, hints, opened, func(s storage.Series) error {
		ref, ok := o.ref(s.Labels())
		if !ok {
			return nil
		}
		it = s.Iterator(it)
		return o.gather(ref, it, overlap)
	})
	if err != nil {
		return err
	}
	n := len(o.batch)
	o.m.filled.Add(float64(n))
	switch {
	case n > 2*sliceSamples:
		o.slice = max(leastSlice, o.slice/2)
	case n < sliceSamples/2:
		o.slice = min(mostSlice, o.slice*2)
	}
	for b := o.batch; len(b) > 0; {
		part := min(len(b), frameSamples)
		if err := l.push(ctx, columnar.Batch{Samples: b[:part]}, overlap, false); err != nil {
			return err
		}
		b = b[part:]
	}
	o.sweep()
	return nil
}

// gather takes the samples of a series that were not sent: newer ones, or where
// samples may come late all of them.
func (o *outlet) gather(ref columnar.Ref, it chunkenc.Iterator, overlap bool) error {
	for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
		one := columnar.Sample{Ref: ref}
		switch kind {
		case chunkenc.ValFloat:
			one.T, one.V = it.At()
		case chunkenc.ValHistogram:
			one.T, one.H = it.AtHistogram(nil)
		case chunkenc.ValFloatHistogram:
			one.T, one.FH = it.AtFloatHistogram(nil)
		default:
			return fmt.Errorf("BUG: a sample of kind %s in the store", kind)
		}
		if overlap || one.T > o.sent[ref] {
			o.batch = append(o.batch, one)
		}
	}
	return it.Err()
}

// live sends what the intake gathers, until the queue was too short: nil then.
func (l *line) live(ctx context.Context) error {
	o := l.o
	tick := time.NewTicker(o.stream.delay())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-o.in.full:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		batches, whole := o.in.take()
		if !whole {
			return nil
		}
		if err := l.forward(ctx, batches); err != nil {
			o.in.close(oldest(batches))
			return err
		}
		o.sweep()
	}
}

func oldest(batches [][]tapped) int64 {
	t := int64(never)
	for _, b := range batches {
		for i := range b {
			t = min(t, b[i].t)
		}
	}
	return t
}

// forward sends transactions. Those that the store was read after may have been
// sent already.
func (l *line) forward(ctx context.Context, batches [][]tapped) error {
	o := l.o
	o.batch = o.batch[:0]
	for n, batch := range batches {
		known := n < o.mark
		for i := range batch {
			s := &batch[i]
			ref := o.refs.get(s.ref)
			if ref == unknown {
				ref = o.choose(s)
			}
			if ref == notChosen || known && s.t >= o.since && s.t <= o.sent[ref] {
				continue
			}
			o.batch = append(o.batch, columnar.Sample{Ref: columnar.Ref(ref), T: s.t, V: s.v, H: s.h, FH: s.fh})
		}
		if len(o.batch) >= frameSamples {
			if err := l.push(ctx, columnar.Batch{Samples: o.batch}, false, false); err != nil {
				return err
			}
			o.batch = o.batch[:0]
		}
	}
	o.mark = max(0, o.mark-len(batches))
	return l.push(ctx, columnar.Batch{Samples: o.batch}, false, false)
}

// choose decides on a series that was not seen under this reference.
func (o *outlet) choose(s *tapped) int32 {
	chosen := int32(notChosen)
	if o.match.fit(s.labels) {
		if ref, ok := o.ref(s.labels); ok {
			chosen = int32(ref)
		}
	}
	o.refs.set(s.ref, chosen)
	return chosen
}

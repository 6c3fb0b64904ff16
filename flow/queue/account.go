package queue

import "github.com/atoll-mesh/atoll/flow"

// took notes an entry that is on disk and wakes the consumer.
func (q *Queue) took(n int) {
	q.next++
	close(q.wake)
	q.wake = make(chan struct{})
	f := q.opts.Family
	if q.full {
		q.full = false
		q.log.Info("the disk takes entries again")
		if f != nil {
			f.disk.Clear(q.opts.Name)
			f.full.WithLabelValues(q.opts.Name).Set(0)
		}
	}
	if f != nil {
		f.put.WithLabelValues(q.opts.Name).Inc()
		f.putBytes.WithLabelValues(q.opts.Name).Add(float64(n))
	}
	q.show()
}

func (q *Queue) refuse(err error) {
	q.stats.Refused++
	if !q.full {
		q.log.Error("the disk does not take entries", "err", err)
	}
	q.full = true
	if f := q.opts.Family; f != nil {
		f.refused.WithLabelValues(q.opts.Name).Inc()
		f.full.WithLabelValues(q.opts.Name).Set(1)
		f.disk.Set(q.opts.Name, "%d entries were not taken in since the start, the last because of: %v", q.stats.Refused, err)
	}
}

func (q *Queue) dropped(entries, bytes uint64) {
	q.stats.DroppedEntries += entries
	q.stats.DroppedBytes += bytes
	q.over = true
	if f := q.opts.Family; f != nil {
		f.dropped.WithLabelValues(q.opts.Name).Add(float64(entries))
		f.droppedBytes.WithLabelValues(q.opts.Name).Add(float64(bytes))
		f.overflow.Set(q.opts.Name, "%d entries (%s) were given up since the start; the queue holds %s",
			q.stats.DroppedEntries, flow.Bytes(q.stats.DroppedBytes).Short(), q.opts.MaxBytes)
	}
}

func (q *Queue) damage(bytes int64) {
	q.stats.DamagedBytes += uint64(bytes)
	if f := q.opts.Family; f != nil {
		f.damaged.WithLabelValues(q.opts.Name).Add(float64(bytes))
	}
}

// show keeps the gauges.
func (q *Queue) show() {
	if f := q.opts.Family; f != nil {
		f.entries.WithLabelValues(q.opts.Name).Set(float64(q.next - q.cursor.value))
		f.bytes.WithLabelValues(q.opts.Name).Set(float64(q.total))
	}
}

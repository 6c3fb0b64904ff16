package receive

import (
	"errors"
	"fmt"
	"slices"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow"
)

// appendExemplars appends the exemplars of s, sorted by time. As in Prometheus,
// 2.0 is told of out-of-order ones and of references that lead nowhere; whatever
// else is refused is counted, but fails no request.
func (w *writer) appendExemplars(s *series, lset labels.Labels, ref storage.SeriesRef) error {
	all := w.exemplarBuf[:0]
	if w.v2 {
		for _, m := range w.b.exemplarV2[s.exemplarFrom:s.exemplarTo] {
			e, err := m.ToExemplar(&w.builder, w.b.symbols)
			if err != nil {
				w.problems.add(reasonExemplar, 0, func() string { return fmt.Sprintf("exemplar: %v, for series %s", err, lset) })
				continue
			}
			all = append(all, e)
		}
	} else {
		for _, m := range w.b.exemplarV1[s.exemplarFrom:s.exemplarTo] {
			all = append(all, m.ToExemplar(&w.builder, nil))
		}
	}
	w.exemplarBuf = all
	slices.SortFunc(all, exemplar.Compare)
	valid := slices.IndexFunc(all, func(e exemplar.Exemplar) bool { return e.Ts > w.maxTime })
	if valid < 0 {
		valid = len(all)
	}
	w.exemplarsRefused(len(all) - valid)
	if valid == 0 {
		return nil
	}
	if w.exemplars == nil {
		w.exemplarsRefused(valid)
		return nil
	}
	_, err := w.exemplars.AppendExemplars(ref, lset, all[:valid])
	failed, ok := partial(err)
	switch {
	case err == nil:
		w.stats.exemplars += valid
	case ok:
		w.exemplarErrors(failed, valid, lset)
	case errors.Is(err, flow.ErrUnavailable):
		return err
	default:
		w.exemplarsRefused(valid)
	}
	return nil
}

func (w *writer) exemplarErrors(failed *storage.AppendPartialError, appended int, lset labels.Labels) {
	w.stats.exemplars += max(0, appended-len(failed.ExemplarErrors))
	w.exemplarsRefused(len(failed.ExemplarErrors))
	if !w.v2 {
		return
	}
	for _, e := range failed.ExemplarErrors {
		if errors.Is(e, storage.ErrOutOfOrderExemplar) {
			w.problems.add(reasonExemplar, 0, func() string { return fmt.Sprintf("%v for series %s", e, lset) })
		}
	}
}

func (w *writer) exemplarsRefused(n int) {
	if n > 0 {
		w.h.metrics.exemplarsRefused.WithLabelValues(w.protocol()).Add(float64(n))
	}
}

func (w *writer) protocol() string {
	if w.v2 {
		return protocolV2
	}
	return protocolV1
}

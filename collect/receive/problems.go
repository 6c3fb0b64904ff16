package receive

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/flow"
)

// problems sums up what was refused of a request whose rest is stored.
type problems struct {
	all []problem
}

type problem struct {
	reason   string
	count    int // series, samples or exemplars
	samples  int // of these, samples
	examples []string
}

const (
	maxExamples     = 3
	maxExampleBytes = 512
)

// add notes one refusal. example is called for the first few of a reason only.
func (p *problems) add(reason string, samples int, example func() string) {
	i := 0
	for i < len(p.all) && p.all[i].reason != reason {
		i++
	}
	if i == len(p.all) {
		p.all = append(p.all, problem{reason: reason})
	}
	q := &p.all[i]
	q.count++
	q.samples += samples
	if len(q.examples) < maxExamples {
		q.examples = append(q.examples, strings.ToValidUTF8(cut(example()), "\uFFFD"))
	}
}

func cut(s string) string {
	if len(s) <= maxExampleBytes {
		return s
	}
	return s[:maxExampleBytes] + "…"
}

func (p *problems) samples() (n int) {
	for _, q := range p.all {
		n += q.samples
	}
	return n
}

// text is the answer for the sender.
func (p *problems) text(stored int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "storing the request: %d samples refused, the other %d are stored; do not send it again\n", p.samples(), stored)
	for _, q := range p.all {
		fmt.Fprintf(&b, "%s, %d times:\n", q.reason, q.count)
		for _, e := range q.examples {
			fmt.Fprintf(&b, "  %s\n", e)
		}
		if more := q.count - len(q.examples); more > 0 {
			fmt.Fprintf(&b, "  and %d more\n", more)
		}
	}
	return b.String()
}

func (p *problems) count(m *metrics, protocol string) {
	for _, q := range p.all {
		m.rejected.WithLabelValues(protocol, q.reason).Inc()
		m.refused.WithLabelValues(protocol, q.reason).Add(float64(q.samples))
	}
}

// refusedFor tells whether an append error concerns that sample alone, and why;
// "" means that the whole transaction must be rolled back.
func refusedFor(err error) string {
	switch {
	case errors.Is(err, flow.ErrUnavailable):
		return ""
	case errors.Is(err, storage.ErrOutOfOrderSample):
		return reasonOutOfOrder
	case errors.Is(err, storage.ErrOutOfBounds):
		return reasonOutOfBounds
	case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
		return reasonDuplicate
	case errors.Is(err, storage.ErrTooOldSample):
		return reasonTooOld
	case errors.Is(err, flow.ErrOverLimit):
		return reasonOverLimit
	}
	if _, bad := errors.AsType[histogram.Error](err); bad {
		return reasonInvalidHistogram
	}
	return ""
}

// fatal makes the answer for a transaction that was rolled back.
func fatal(doing string, err error) *refusal {
	err = fmt.Errorf("%s: %w", doing, err)
	if errors.Is(err, flow.ErrUnavailable) || errors.Is(err, tsdb.ErrNotReady) {
		return refuseFor(retryUnavailable, reasonUnavailable, err)
	}
	return &refusal{status: http.StatusInternalServerError, reason: reasonInternal, err: err}
}

// partial finds the error of a sample that was stored without its exemplars.
func partial(err error) (*storage.AppendPartialError, bool) {
	return errors.AsType[*storage.AppendPartialError](err)
}

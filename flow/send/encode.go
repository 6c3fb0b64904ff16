package send

import (
	"fmt"

	"github.com/atoll-mesh/atoll/flow/send/request"
)

// encoder turns items into the compressed body of one request. Consecutive items
// of one series share a time series. The result is valid until the next call.
type encoder struct{ *request.Encoder }

func newEncoder(v2 bool) encoder { return encoder{request.NewEncoder(v2)} }

func (e encoder) encode(items []item) ([]byte, error) {
	for i := range items {
		it := &items[i]
		if i == 0 || items[i-1].series != it.series {
			e.Series(it.series.labels, it.series.meta.Load())
		}
		e.Sample(it.st, it.t, it.v, it.h, it.fh)
		for _, ex := range it.ex {
			e.Exemplar(ex)
		}
	}
	body, err := e.Finish()
	if err != nil {
		return nil, fmt.Errorf("encode %d samples: %w", len(items), err)
	}
	return body, nil
}

package render

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/prometheus/common/model"
)

// writeCSV writes one line a sample: a column for each label that occurs, the
// metric name first, then timestamp (RFC 3339, UTC) and value. A histogram's
// value is its JSON as the API gives it.
func writeCSV(w io.Writer, v model.Value, o Options) error {
	rs, ok := rows(v, o.Order)
	if s, isString := v.(*model.String); isString {
		return writeRecords(w, []string{"timestamp", "value"}, []string{stamp(s.Timestamp), s.Value})
	}
	if !ok {
		return unsupported(CSV, v)
	}
	names := allNames(rs)
	head := make([]string, 0, len(names)+2)
	for _, n := range names {
		head = append(head, string(n))
	}
	records := [][]string{append(head, "timestamp", "value")}
	for _, r := range rs {
		labels := make([]string, 0, len(names)+2)
		for _, n := range names {
			labels = append(labels, string(r.metric[n]))
		}
		for _, p := range r.points {
			value, err := p.csv()
			if err != nil {
				return err
			}
			records = append(records, append(labels[:len(names):len(names)], stamp(p.t), value))
		}
	}
	return writeRecords(w, records...)
}

func (p point) csv() (string, error) {
	if p.h == nil {
		return number(float64(p.v)), nil
	}
	b, err := json.Marshal(p.h)
	if err != nil {
		return "", fmt.Errorf("encoding a histogram for CSV: %w", err)
	}
	return string(b), nil
}

func stamp(t model.Time) string { return t.Time().UTC().Format(time.RFC3339Nano) }

func writeRecords(w io.Writer, records ...[]string) error {
	return csv.NewWriter(w).WriteAll(records)
}

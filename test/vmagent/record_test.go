package vmagent

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

const recorded = "testdata/vmagent.json"

// record is what came out: series → end of the window in seconds since the stream
// began → value.
type record map[string]map[int]float64

func (r record) add(ls labels.Labels, end int, v float64) error {
	key := ls.String()
	if r[key] == nil {
		r[key] = map[int]float64{}
	}
	if old, ok := r[key][end]; ok && old != v {
		return fmt.Errorf("%s has two values at %d: %v and %v", key, end, old, v)
	}
	r[key][end] = v
	return nil
}

func (r record) write(t *testing.T, file string) {
	t.Helper()
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, file string) record {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r record
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// near: values are sums of the same numbers in another order.
func near(a, b float64) bool { return math.Abs(a-b) <= 1e-9*max(1, math.Abs(a), math.Abs(b)) }

// differences lists every value that is not the same, by series and window.
func differences(vmagent, atoll record) []string {
	var out []string
	for _, key := range keys(vmagent, atoll) {
		for end := range int(windows*window/time.Second) + 1 {
			v, inV := vmagent[key][end]
			a, inA := atoll[key][end]
			switch {
			case inV && !inA:
				out = append(out, fmt.Sprintf("%s@%d vmagent %v, atoll nothing", key, end, v))
			case inA && !inV:
				out = append(out, fmt.Sprintf("%s@%d vmagent nothing, atoll %v", key, end, a))
			case inV && !near(v, a) && !(strings.Contains(key, `quantile="`) && math.Abs(v-a) <= alike*math.Abs(v)):
				out = append(out, fmt.Sprintf("%s@%d vmagent %v, atoll %v", key, end, v, a))
			}
		}
	}
	return out
}

func keys(records ...record) []string {
	var all []string
	for _, r := range records {
		for key := range r {
			all = append(all, key)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

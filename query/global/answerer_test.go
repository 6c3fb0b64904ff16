package global

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// TestAnswererRefuses: foreign requests are bounded before they are evaluated.
func TestAnswererRefuses(t *testing.T) {
	_, islands := trio(t, nil)
	a := islands[0].Island
	for name, c := range map[string]struct {
		request Request
		kind    FaultKind
	}{
		"a step of nothing":       {Request{Leaves: []Leaf{{Expr: "up", End: 1}}}, FaultQuery},
		"an end before its start": {Request{Leaves: []Leaf{{Expr: "up", Start: 2, End: 1, Step: 1}}}, FaultQuery},
		"all of time":             {Request{Leaves: []Leaf{{Expr: "up", Start: math.MinInt64, End: math.MaxInt64, Step: 1}}}, FaultQuery},
		"too many steps":          {Request{Leaves: []Leaf{{Expr: "up", End: 1 << 40, Step: 1}}}, FaultQuery},
		"too many leaves":         {Request{Leaves: make([]Leaf, 2000)}, FaultQuery},
		"no expression":           {Request{Leaves: []Leaf{{Expr: "sum(", Step: 1}}}, FaultUnsupported},
		"too little room":         {Request{Leaves: []Leaf{{Expr: "up", End: 600_000, Step: 1000}}, Limits: Limits{Samples: 5}}, FaultLimit},
		"a failing leaf":          {Request{Leaves: []Leaf{{Expr: `label_replace(up, "a", "", "b", "(")`, Step: 1}}}, FaultQuery},
		"another engine":          {Request{Options: EngineOptions{DelayedNames: true}}, FaultUnsupported},
	} {
		_, err := a.Answer(t.Context(), &c.request)
		var f *Fault
		if !errors.As(err, &f) || f.Kind != c.kind {
			t.Errorf("%s: %v, want a fault of kind %d", name, err, c.kind)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Answer(ctx, &Request{Leaves: []Leaf{{Expr: "up", Step: 1}}}); err == nil {
		t.Error("a request that was given up was answered")
	}
}

// TestAnswererFirstError: a leaf that fails ends all, and its error is the answer.
func TestAnswererFirstError(t *testing.T) {
	_, islands := trio(t, nil)
	leaves := []Leaf{{Expr: `label_replace(up, "a", "", "b", "(")`, Step: 1}}
	for range 20 {
		leaves = append(leaves, Leaf{Expr: "sum(up)", End: 600_000, Step: 1000})
	}
	islands[0].Island.(*Answerer).options.Parallel = 2
	_, err := islands[0].Island.Answer(t.Context(), &Request{Leaves: leaves})
	var f *Fault
	if !errors.As(err, &f) || f.Kind != FaultQuery {
		t.Errorf("%v, want a fault of the query", err)
	}
}

func TestNewAnswerer(t *testing.T) {
	for name, change := range map[string]func(*AnswererOptions){
		"no storage":       func(o *AnswererOptions) { o.Storage = nil },
		"no name":          func(o *AnswererOptions) { o.Name = "" },
		"another's labels": func(o *AnswererOptions) { o.External = labels.FromStrings(label, "other") },
	} {
		o := AnswererOptions{Engine: upstream(t, false), Storage: memory(t), Label: label, Name: "a"}
		if _, err := NewAnswerer(o); err != nil {
			t.Fatal(err)
		}
		change(&o)
		if _, err := NewAnswerer(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// broken is a store whose reader panics.
type broken struct {
	storage.SampleAndChunkQueryable
}

func (broken) Querier(int64, int64) (storage.Querier, error) { panic("in a reader") }

// TestPanics: what others ask does not end this island.
func TestPanics(t *testing.T) {
	a := newAnswerer(t, upstream(t, false), broken{memory(t)}, "isle", false)
	_, err := a.Answer(t.Context(), &Request{Leaves: []Leaf{{Expr: "up", Step: 1}}, Options: features(false)})
	if err == nil || !strings.Contains(err.Error(), "in a reader") {
		t.Error(err)
	}
}

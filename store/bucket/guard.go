package bucket

import (
	"context"
	"fmt"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

// The TSDB's readers trust what an index says, also where to read on. Here it comes
// from elsewhere: what they panic over is an error of the bucket.

func damaged(r any) error { return fmt.Errorf("read from object storage: a damaged index: %v", r) }

// guarded is a querier over blocks of the bucket.
type guarded struct{ storage.LabelQuerier }

// LabelValues implements storage.LabelQuerier.
func (g guarded) LabelValues(ctx context.Context, name string, hints *storage.LabelHints, ms ...*labels.Matcher) (out []string, _ annotations.Annotations, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged(r)
		}
	}()
	return g.LabelQuerier.LabelValues(ctx, name, hints, ms...)
}

// LabelNames implements storage.LabelQuerier.
func (g guarded) LabelNames(ctx context.Context, hints *storage.LabelHints, ms ...*labels.Matcher) (out []string, _ annotations.Annotations, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = damaged(r)
		}
	}()
	return g.LabelQuerier.LabelNames(ctx, hints, ms...)
}

// selecting is what sets of series have in common.
type selecting interface {
	Next() bool
	Err() error
}

// steps makes errors of panics on the way through a set.
type steps struct {
	of  selecting
	err error
}

// Next implements storage.SeriesSet.
func (s *steps) Next() (more bool) {
	defer func() {
		if r := recover(); r != nil {
			more, s.err = false, damaged(r)
		}
	}()
	return s.err == nil && s.of.Next()
}

// Err implements storage.SeriesSet.
func (s *steps) Err() error {
	if s.err != nil {
		return s.err
	}
	return s.of.Err()
}

type guardedSet struct {
	storage.SeriesSet
	steps
}

// Next implements storage.SeriesSet.
func (s *guardedSet) Next() bool { return s.steps.Next() }

// Err implements storage.SeriesSet.
func (s *guardedSet) Err() error { return s.steps.Err() }

type guardedChunks struct {
	storage.ChunkSeriesSet
	steps
}

// Next implements storage.ChunkSeriesSet.
func (s *guardedChunks) Next() bool { return s.steps.Next() }

// Err implements storage.ChunkSeriesSet.
func (s *guardedChunks) Err() error { return s.steps.Err() }

func guardSet(choose func() storage.SeriesSet) (out storage.SeriesSet) {
	defer func() {
		if r := recover(); r != nil {
			out = storage.ErrSeriesSet(damaged(r))
		}
	}()
	set := choose()
	return &guardedSet{set, steps{of: set}}
}

func guardChunks(choose func() storage.ChunkSeriesSet) (out storage.ChunkSeriesSet) {
	defer func() {
		if r := recover(); r != nil {
			out = storage.ErrChunkSeriesSet(damaged(r))
		}
	}()
	set := choose()
	return &guardedChunks{set, steps{of: set}}
}

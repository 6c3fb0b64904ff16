package store

import (
	"errors"

	"github.com/prometheus/prometheus/storage"
)

// Deep is the store and what of its blocks is only elsewhere any more. Errors of
// the other place become warnings of the answer, as those of remote_read do.
type Deep struct {
	*Store
	older Older
}

// Older reads what the store no longer has of a time range (ms, inclusive). A nil
// querier says that the store has all of it.
type Older interface {
	Querier(mint, maxt int64) (storage.Querier, error)
	ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error)
	// Oldest is the time of its oldest sample in milliseconds, false without one.
	Oldest() (int64, bool)
	// Generation changes when what can be read there does; 0 is for nothing.
	Generation() uint64
	// Seen is false while it is not known what is there.
	Seen() bool
}

// With reads older blocks beside the store's own.
func (s *Store) With(older Older) Deep { return Deep{s, older} }

// Span is from the oldest sample in either place to the newest, in milliseconds.
func (d Deep) Span() (oldest, newest int64) {
	oldest, newest = d.Store.Span()
	if there, ok := d.older.Oldest(); ok && (there < oldest || newest == 0) {
		oldest = there
	}
	return oldest, newest
}

// Since is a time in milliseconds before which there is no sample in either place;
// false while that is not known.
func (d Deep) Since() (ms int64, ok bool) {
	ms, ok = d.Store.Since()
	if there, old := d.older.Oldest(); old {
		ms = min(ms, there)
	}
	return ms, ok && d.older.Seen()
}

// Querier reads samples of both.
func (d Deep) Querier(mint, maxt int64) (storage.Querier, error) {
	here, err := d.Store.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	there, err := d.older.Querier(mint, maxt)
	if err != nil {
		return nil, errors.Join(err, here.Close())
	}
	if there == nil {
		return here, nil
	}
	return storage.NewMergeQuerier([]storage.Querier{here}, []storage.Querier{there}, storage.ChainedSeriesMerge), nil
}

// ChunkQuerier reads encoded chunks of both.
func (d Deep) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	here, err := d.Store.ChunkQuerier(mint, maxt)
	if err != nil {
		return nil, err
	}
	there, err := d.older.ChunkQuerier(mint, maxt)
	if err != nil {
		return nil, errors.Join(err, here.Close())
	}
	if there == nil {
		return here, nil
	}
	merge := storage.NewCompactingChunkSeriesMerger(storage.ChainedSeriesMerge)
	return storage.NewMergeChunkQuerier([]storage.ChunkQuerier{here}, []storage.ChunkQuerier{there}, merge), nil
}

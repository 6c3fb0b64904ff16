package query

import (
	"errors"
	"sync/atomic"

	"github.com/prometheus/prometheus/storage"
)

// sources is what queries read: the store and, beside it, the remote_read
// endpoints. Without endpoints it is the store. What it merges and which errors
// become warnings is as in upstream's storage.NewFanout, which cannot be used
// because it wants everything to be writable.
type sources struct {
	store  Store
	remote atomic.Pointer[[]*endpoint] // nil if there is none
}

// swap puts next in the place of the endpoints before, which are retired.
func (s *sources) swap(next []*endpoint) {
	var p *[]*endpoint
	if len(next) > 0 {
		p = &next
	}
	if old := s.remote.Swap(p); old != nil {
		for _, e := range *old {
			e.transport.retire()
		}
	}
}

// Querier reads samples; times are milliseconds since 1970, both inclusive.
func (s *sources) Querier(mint, maxt int64) (storage.Querier, error) {
	local, err := s.store.Querier(mint, maxt)
	endpoints := s.remote.Load()
	if err != nil || endpoints == nil {
		return local, err
	}
	remotes := make([]storage.Querier, 0, len(*endpoints))
	for _, e := range *endpoints {
		// A remote querier holds nothing that would have to be closed.
		q, err := e.Querier(mint, maxt)
		if err != nil {
			return nil, errors.Join(err, local.Close())
		}
		remotes = append(remotes, q)
	}
	return storage.NewMergeQuerier([]storage.Querier{local}, remotes, storage.ChainedSeriesMerge), nil
}

// ChunkQuerier reads encoded chunks, under the same rules as Querier.
func (s *sources) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	local, err := s.store.ChunkQuerier(mint, maxt)
	endpoints := s.remote.Load()
	if err != nil || endpoints == nil {
		return local, err
	}
	remotes := make([]storage.ChunkQuerier, 0, len(*endpoints))
	for _, e := range *endpoints {
		q, err := e.ChunkQuerier(mint, maxt)
		if err != nil {
			return nil, errors.Join(err, local.Close())
		}
		remotes = append(remotes, q)
	}
	merge := storage.NewCompactingChunkSeriesMerger(storage.ChainedSeriesMerge)
	return storage.NewMergeChunkQuerier([]storage.ChunkQuerier{local}, remotes, merge), nil
}

// CostSamplingQueryable is the store's; a remote cannot be sampled.
func (s *sources) CostSamplingQueryable() (storage.SampleAndChunkQueryable, bool) {
	sampler, ok := s.store.(storage.CostSamplingQueryable)
	if !ok || s.remote.Load() != nil {
		return nil, false
	}
	return sampler.CostSamplingQueryable()
}

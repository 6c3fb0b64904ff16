package island

import (
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb"

	"github.com/atoll-mesh/atoll/budget"
	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/store/bucket"
	"github.com/atoll-mesh/atoll/store/storeapi"
)

// buildBucket makes what keeps the store's blocks in object storage. It comes
// before the store, which asks it what may go.
func (i *Island) buildBucket(r *rooms, cfg *config.Config) (err error) {
	r.bucket, err = bucket.New(bucket.Options{
		Config: cfg.Store.Bucket, Labels: externalLabels(cfg),
		Blocks:   func() ([]tsdb.BlockMeta, error) { return r.store.BlockMetas() },
		StoreDir: cfg.Store.Path, Dir: filepath.Join(cfg.Island.DataDir, "bucket"),
		Pressed: i.diskPressed,
		Logger:  i.room("bucket"), Registerer: i.registry, Health: i.health,
	})
	return err
}

// diskPressed reports whether less than twice the budget's reserve is free: soon
// nothing would be stored any more.
func (i *Island) diskPressed() bool {
	cfg := i.Config()
	free, total, err := budget.Space(cfg.Store.Path)
	return err == nil && free < 2*max(cfg.Budget.Disk.Reserve.Of(total), 1<<20)
}

// buildStoreAPI makes what answers Thanos.
func (i *Island) buildStoreAPI(r *rooms, cfg *config.Config) (err error) {
	r.storeAPI, err = storeapi.New(storeapi.Options{
		Config: cfg.Store.Thanos, Store: r.store, Labels: cfg.Prometheus.GlobalConfig.ExternalLabels,
		Logger: i.room("storeapi"), Registerer: i.registry,
	})
	return err
}

func externalLabels(cfg *config.Config) map[string]string {
	return cfg.Prometheus.GlobalConfig.ExternalLabels.Map()
}

func (r *rooms) prepareBucket(next *config.Config) (commit, discard func(), err error) {
	return r.bucket.Prepare(next.Store.Bucket, externalLabels(next))
}

func (r *rooms) prepareStoreAPI(next *config.Config) (commit, discard func(), err error) {
	return r.storeAPI.Prepare(next.Store.Thanos, next.Prometheus.GlobalConfig.ExternalLabels)
}

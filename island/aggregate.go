package island

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/aggregate"
	"github.com/atoll-mesh/atoll/aggregate/dimension"
	"github.com/atoll-mesh/atoll/aggregate/router"
	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/trust"
)

// buildAggregate makes what stands between those who bring samples and the store.
func (i *Island) buildAggregate(r *rooms, cfg *config.Config, store storage.AppendableV2) error {
	home, err := trust.OpenHome(meshDir(cfg.Island.DataDir))
	if err != nil {
		return err
	}
	r.aggregate, err = aggregate.New(aggregate.Options{
		Config: cfg.Aggregate, Rules: cfg.AggregateRules, Store: store, InNetwork: home.Enrolled(),
		Dir:    filepath.Join(cfg.Island.DataDir, "aggregate"),
		Logger: i.room("aggregate"), Registerer: i.registry, Health: i.health,
	})
	return err
}

// received is where samples of other senders go: to the store, or to the
// backends of a router. Rules see them on the way.
func (i *Island) received(r *rooms, cfg *config.Config, stored storage.AppendableV2) (storage.AppendableV2, error) {
	if !cfg.Aggregate.Routes() {
		return stored, nil
	}
	var err error
	r.router, err = router.New(router.Options{
		Config: cfg.Aggregate.Router, Dir: filepath.Join(cfg.Island.DataDir, "router"),
		Logger: i.room("router"), Registerer: i.registry, Health: i.health,
	})
	if err != nil {
		return nil, err
	}
	return r.aggregate.Appendable(r.router), nil
}

// runRouter sends until ctx ends, and then keeps what waits for the next start.
func (r *rooms) runRouter(ctx context.Context) error {
	return errors.Join(r.router.Run(ctx), r.router.Close())
}

// prepareRouter takes changes of the router, but not its coming and going: senders
// hold references of where their samples went so far.
func (r *rooms) prepareRouter(next *config.Config) (commit, discard func(), err error) {
	switch is := r.router != nil; {
	case is != next.Aggregate.Routes():
		return nil, nil, fmt.Errorf("aggregate.router: cannot be switched on or off while running: there were backends: %v, there would be: %v; restart the island for it", is, !is)
	case !is:
		return func() {}, func() {}, nil
	}
	return r.router.Prepare(next.Aggregate.Router)
}

func (i *Island) buildDimension(r *rooms, cfg *config.Config, door storage.AppendableV2) (err error) {
	r.dimension, err = dimension.New(dimension.Options{
		Config: cfg.Aggregate.Dimension, Engine: r.query.Engine(), Queryable: r.query.Queryable(), Appendable: door,
		Global: &dimension.Source{Query: askEverywhere(r.query), Whole: i.askWhole}, Members: i.evaluators,
		Parser: r.query.Parser(), Ready: r.store.Ready(), ExternalURL: r.portal.URL(),
		Logger: i.room("dimension"), Registerer: i.registry, Health: i.health,
	})
	return err
}

// topRoute answers what the aggregation rules weigh: ?limit=N, 10 by default.
func (i *Island) topRoute(w http.ResponseWriter, req *http.Request) {
	limit := 10
	if text := req.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1000 {
			problem{Code: "invalid", Field: "limit", Message: "limit=" + strconv.Quote(text) + ": must be a number from 1 to 1000",
				Remedy: "leave it out for 10"}.answer(w, http.StatusBadRequest)
			return
		}
		limit = n
	}
	r := i.getRooms()
	if r == nil {
		refuseStarting(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(r.aggregate.Top(limit)) // the client went away
}

// rulesOfAggregation answers how the aggregation rules of this island do.
func (i *Island) rulesOfAggregation(w http.ResponseWriter, _ *http.Request) {
	r := i.getRooms()
	if r == nil {
		refuseStarting(w)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"items": r.aggregate.Standings()}) // the client went away
}

package query

import (
	"encoding/json"
	"errors"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/atoll-mesh/atoll/flow/durable"
	"github.com/atoll-mesh/atoll/query/global"
)

// border is how this island's samples look from outside: which labels they carry,
// and since when there are any. Others skip this island by what it promised of both,
// so a promise is kept until it is over: only then are new labels shown, and samples to
// questions that end before the promised time. Another promise takes the place of the
// last one once nobody can hold that any more. Promises outlive the process: the last
// one is in a file.
type border struct {
	file   string
	labels func() labels.Labels
	since  func() (ms int64, ok bool)
	logger *slog.Logger

	mu    sync.Mutex
	shown global.Promise
	kept  bool      // shown is in the file
	given time.Time // when a promise was given last
}

// newBorder reads what was promised before, if there is anything.
func newBorder(file string, labels func() labels.Labels, since func() (int64, bool), logger *slog.Logger) *border {
	b := &border{file: file, labels: labels, since: since, logger: logger}
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &b.shown)
	}
	switch {
	case err == nil:
		b.kept, b.given = true, time.Now()
		return b
	case !errors.Is(err, fs.ErrNotExist):
		logger.Error("what was promised to other islands is lost: for two minutes they may leave this one out by old labels", "file", file, "error", err)
	}
	b.shown = global.Promise{Number: rand.Uint32(), External: labels()}
	return b
}

// look returns what is shown now, and with promising whether that is promised from
// now on.
func (b *border) look(promising bool) (shown global.Promise, promised bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	next := b.next()
	changed := !labels.Equal(next.External, b.shown.External)
	switch {
	case changed || next.MinTime < b.shown.MinTime:
		if time.Since(b.given) < global.PromiseTime && !b.given.IsZero() {
			return b.shown, false // until nobody holds the last one
		}
		b.shown, b.kept = next, false
	case next.MinTime > b.shown.MinTime: // what was promised holds all the more
		b.shown, b.kept = next, false
	}
	if !promising || !b.kept && !b.keep() {
		return b.shown, false
	}
	b.given = time.Now()
	return b.shown, true
}

// next is what would be promised now. Times are of whole hours, so that they change
// rarely, and an hour early: a crash may lose the newest samples, by which is known
// what may still come.
func (b *border) next() global.Promise {
	p := global.Promise{Number: max(b.shown.Number+1, 1), External: b.labels(), MinTime: b.shown.MinTime}
	if ms, ok := b.since(); ok {
		hour := time.Hour.Milliseconds()
		p.MinTime = max((ms-hour)/hour*hour, 0)
	}
	return p
}

// keep writes down what is shown; it is not promised if that fails.
func (b *border) keep() bool {
	text, err := json.Marshal(b.shown)
	if err == nil {
		err = durable.Write(b.file, 0o644, text)
	}
	if err != nil {
		b.logger.Warn("other islands ask this one for all they want, because what it has cannot be promised", "error", err)
	}
	b.kept = err == nil
	return b.kept
}

// visible is a store that has nothing for questions which end before a time (ms).
type visible struct {
	storage.SampleAndChunkQueryable
	since int64
}

func (v visible) Querier(mint, maxt int64) (storage.Querier, error) {
	if maxt < v.since {
		return storage.NoopQuerier(), nil
	}
	return v.SampleAndChunkQueryable.Querier(mint, maxt)
}

func (v visible) ChunkQuerier(mint, maxt int64) (storage.ChunkQuerier, error) {
	if maxt < v.since {
		return storage.NoopChunkedQuerier(), nil
	}
	return v.SampleAndChunkQueryable.ChunkQuerier(mint, maxt)
}

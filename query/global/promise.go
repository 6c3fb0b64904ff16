package global

import (
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// PromiseTime is how long an island keeps what it promised, counted from when it
// said so.
const PromiseTime = 2 * time.Minute

// Promise is what an island says of all samples that it answers with, for
// PromiseTime: whoever holds it can leave out the island as if it had asked.
type Promise struct {
	// Number is that of the promise; another one has another number. Never 0.
	Number uint32
	// External and MinTime are as in Facts.
	External labels.Labels
	MinTime  int64
}

package share

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// message is what one island says to another at a time.
type message struct {
	life uint64
	// boot is the start of the receiver that the sender knows of; the receiver
	// takes nothing of a message to another one.
	boot    uint64
	members []string // of the sender's view, sorted
	// away are islands that were members not long ago: they are still waited for,
	// also by those who began after they had gone.
	away   []away
	sealed []mark
	words  []saying
	states []state
	parts  []*part
	// unknown are the rules of the parts and states that were left out in decoding.
	unknown []uint64
}

// mark says that all windows of a rule to through are published: by those who own
// the groups (in a message), or by the island that answers (in a reply).
type mark struct {
	rule    uint64
	through int64
}

// away is a member that has gone.
type away struct {
	name string
	ms   int64 // for how long
}

// saying is a word, see there, of a rule.
type saying struct {
	rule    uint64
	members []string
	owner   string
	through int64
}

// state are the totals of groups that the sender knows of.
type state struct {
	rule   *rule.Rule
	groups []stateGroup
}

type stateGroup struct {
	labels labels.Labels
	hash   uint64
	counts []count
}

// count is what one source counted in a group from its birth to asOf.
type count struct {
	source source
	// asOf is the end of the newest window in it, Unix ms; one more where the
	// amounts of an older window came after that.
	asOf int64
	// seq tells the newer of two as of the same time.
	seq uint64
	acc partial.Acc
}

// part is what a source saw of a window, or a piece of it.
type part struct {
	rule     *rule.Rule
	end      int64
	revision uint32
	// late: the source had sealed the window, or a newer one, before.
	late bool
	// last: no piece of this window and no older window follows.
	last bool
	asOf int64
	seq  uint64
	rows []row
}

// row is one group; total is what the source counted in it, nil if the rule has no
// cumulative output.
type row struct {
	partial.Row
	total *partial.Acc
}

// reply answers a message.
type reply struct {
	boot  uint64
	taken bool // false: the message was to another start of the receiver
	// viewed: the receiver has the same members, so that marks hold.
	viewed    bool
	published []mark
	// unknown are rules that the receiver does not have; nothing of them was taken.
	unknown []uint64
}

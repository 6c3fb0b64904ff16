package share

import (
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/aggregate/partial"
	"github.com/atoll-mesh/atoll/aggregate/rule"
)

// message is what one island says to another at a time.
type message struct {
	life uint64
	// stance tells whether the sender is about to leave; done: it is, and with this
	// message the receiver has all that the sender ever counted.
	stance stance
	done   bool
	// boot is the start of the receiver that the sender knows of; the receiver
	// takes nothing of a message to another one.
	boot uint64
	// plans are those that the receiver may not have, of the views.
	plans []*plan
	// views are those that words speak of; the first is the sender's.
	views   []viewRef
	islands []island
	sealed  []mark
	// lost are the parts of the sender that it cannot send again.
	lost  []mark
	words []saying
	// loads are of the sender's slots in the view loadView.
	loadView uint64
	loads    []loadOf
	states   []state
	parts    []*part
	// unknown are the rules of the parts and states that were left out in decoding.
	unknown []uint64
}

// viewRef names a view.
type viewRef struct {
	members []string // sorted
	apart   bool
	plan    uint64 // 0: none
}

// mark says that all windows of a rule to through are published: by those who own
// the groups (in a message), or by the island that answers (in a reply).
type mark struct {
	rule    uint64
	through int64
}

// island is what is known of one that aggregates or did: for how long it does not
// any more, and for how long nobody heard it, ms. It is a source still, also for
// those who began after it had gone.
type island struct {
	name        string
	gone, quiet int64
}

// saying is a word, see there, of a rule.
type saying struct {
	rule    uint64
	view    int // index
	owner   string
	through int64
}

// state is what the sender knows of groups.
type state struct {
	rule   *rule.Rule
	groups []stateGroup
}

type stateGroup struct {
	labels labels.Labels
	hash   uint64
	counts []count
	// in and apart are as in a group.
	in, apart spans
	claims    []claim
	// left are parts of sources that are not there to send them again: where windows are
	// corrected, or it is not known that the group was published in one. Of what was
	// corrected, and of backlogs that are gathered, they are those of all sources.
	left []leftPart
	// changed are the windows that were published and were corrected since, or are to be.
	changed []int64
}

type leftPart struct {
	end int64
	// open: the group is not known to be published in the window; behind: all that is
	// known of that was late at its sources.
	open, behind bool
	said
}

// claim is the value of a window that came late, as it is about to be published
// or was, so that a next owner publishes none other.
type claim struct {
	end int64
	// late: the window was past by then.
	late     bool
	revision uint32
	acc      partial.Acc
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
	// after: the window was published before the source knew that this is there.
	after bool
	// last: no piece of this window and no older window follows.
	last bool
	asOf int64
	seq  uint64
	// needs are those of the rule as its source has it: of two islands one may know new
	// outputs before the other.
	needs rule.Needs
	rows  []row
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
	taken bool // false: the message was to another start, or named a plan that is unknown
	// viewed: the receiver has the same view, so that marks hold; even: and the sender
	// has all that the receiver had to give when it went over to that.
	viewed, even bool
	// rules are all that the receiver shares; of others nothing was taken.
	rules []told
}

// told is what a reply says of a rule: which state of it the receiver has, and to
// where it is published.
type told struct {
	rule, birth uint64
	through     int64
}

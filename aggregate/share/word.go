package share

import "slices"

// word says that a member published all windows to through in the slots that it
// owns in a view. It is passed on, so that the next owner hears of it: a word of a
// view that is apart only as long as those in it are.
type word struct {
	view    *view
	owner   string
	index   int16 // of the owner
	through int64
}

// mostWords bounds what is remembered of a rule; each view change adds a word for
// each member, until all owners have published so far.
const mostWords = 64

// hearWord notes a word.
func (rs *ruleState) hearWord(v *view, name string, through int64) {
	index := v.Index(name)
	if through <= rs.through || index == none {
		return
	}
	i := slices.IndexFunc(rs.words, func(w word) bool { return w.view.id == v.id && w.owner == name })
	switch {
	case i >= 0 && rs.words[i].through >= through:
		return
	case i >= 0:
		rs.words[i].through = through
	default:
		rs.words = append(rs.words, word{v, name, index, through})
		rs.words = rs.words[max(0, len(rs.words)-mostWords):]
	}
}

// past is to where a slot is published, by whoever owned it.
func (rs *ruleState) past(slot int) int64 {
	at := rs.through
	for i := range rs.words {
		if x := &rs.words[i]; x.through > at && x.view.First[slot] == x.index {
			at = x.through
		}
	}
	if r := rs.shown; r != nil && r.view.First[slot] == r.self {
		at = max(at, r.at(slot))
	}
	return at
}

// raise notes that all windows to an end are published.
func (rs *ruleState) raise(through int64) {
	rs.through = max(rs.through, through)
	rs.published = max(rs.published, rs.through)
	rs.words = slices.DeleteFunc(rs.words, func(w word) bool { return w.through <= rs.through })
}

package share

import "slices"

// word says that a member published all windows to through in the slots that it
// owns in a view. It is passed on, so that the next owner hears of it.
type word struct {
	view    *view
	owner   string
	through int64
}

// mostWords bounds what is remembered of a rule; each view change adds a word for
// each member, until all owners have published so far.
const mostWords = 64

// hearWord notes a word.
func (rs *ruleState) hearWord(v *view, name string, through int64) {
	index := v.index(name)
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
		rs.words = append(rs.words, word{v, name, through})
		rs.words = rs.words[max(0, len(rs.words)-mostWords):]
	}
	if rs.slots == nil {
		rs.slots = new([Slots]int64)
		for k := range rs.slots {
			rs.slots[k] = never
		}
	}
	for k := range rs.slots {
		if v.first[k] == index {
			rs.slots[k] = max(rs.slots[k], through)
		}
	}
}

// past is to where a slot is published, by whoever owned it.
func (rs *ruleState) past(slot int) int64 {
	if rs.slots == nil {
		return rs.through
	}
	return max(rs.through, rs.slots[slot])
}

// raise notes that all windows to an end are published.
func (rs *ruleState) raise(through int64) {
	rs.through = max(rs.through, through)
	rs.published = max(rs.published, rs.through)
	rs.words = slices.DeleteFunc(rs.words, func(w word) bool { return w.through <= rs.through })
}

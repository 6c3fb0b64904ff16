package asset

import (
	"strings"
)

// looked is a word as it was looked up in one segment.
type looked struct {
	// text has the grade of each text, nil where nothing matches.
	text []grade
	// value is the same of what stands behind the colon, under fields that are marked.
	value  []grade
	fields []bool
	// named marks fields whose name begins with the word: somebody is about to type
	// a label's name and a colon.
	named []bool
	// all says that the word matches every resource: the island's own name.
	all bool
}

// look looks a word up. Each of the two ways in which it can be meant may match.
func (s *segment) look(w word, island string, forgiving bool) (l looked, any bool) {
	n := s.dict.len()
	try := func(text string) []grade {
		into := make([]grade, n)
		ok := w.network.IsValid() && s.dict.findNetwork(w.network, into)
		ok = s.dict.find(text, into) || ok
		if !ok && forgiving && len(text) >= shortestSimilar {
			ok = s.dict.findSimilar(text, into)
		}
		if !ok {
			return nil
		}
		return into
	}
	l.text = try(w.text)
	if w.field != "" {
		if marked := s.fieldsNamed(w.field); marked != nil && w.value != "" {
			l.value, l.fields = try(w.value), marked
		}
		l.all = w.field == "island" && (w.value == "" || strings.HasPrefix(lower(island), w.value))
	}
	if l.text == nil && w.value == "" {
		l.named = s.fieldsBeginning(strings.TrimSuffix(w.text, ":"))
	}
	return l, l.text != nil || l.value != nil || l.named != nil || l.all
}

// fieldsBeginning marks the labels whose name, or last part of it, begins with a text;
// nil where there is none.
func (s *segment) fieldsBeginning(text string) (marked []bool) {
	for f := int(firstLabel); f < len(s.weight); f++ {
		known := strings.ToLower(s.fieldName(uint16(f)))
		if !strings.HasPrefix(known, text) && !strings.HasPrefix(known[strings.LastIndexByte(known, '_')+1:], text) {
			continue
		}
		if marked == nil {
			marked = make([]bool, len(s.weight))
		}
		marked[f] = true
	}
	return marked
}

// shortestSimilar is how many bytes a word has at least that may be mistyped.
const shortestSimilar = 4

// fieldsNamed marks the fields that go by a name, or end in it as __meta_ec2_region
// does for region; nil where there is none.
func (s *segment) fieldsNamed(name string) (marked []bool) {
	for f := range s.weight {
		known := strings.ToLower(s.fieldName(uint16(f)))
		if known != name && !strings.HasSuffix(known, "_"+name) {
			continue
		}
		if marked == nil {
			marked = make([]bool, len(s.weight))
		}
		marked[f] = true
	}
	return marked
}

// score is how well a resource matches a word, 0 for not at all.
func (s *segment) score(i int, l *looked) int {
	best := 0
	if l.all {
		best = 1
	}
	from, to := s.span(i)
	for n := from; n < to; n++ {
		f, v := s.field[n], s.value[n]
		if l.named != nil && l.named[f] {
			best = max(best, 1)
		}
		if l.text != nil {
			if g := l.text[v]; g != 0 {
				best = max(best, points(g, s.weight[f]))
			}
		}
		if l.value != nil && l.fields[f] {
			if g := l.value[v]; g != 0 {
				best = max(best, points(g, s.weight[f]))
			}
		}
	}
	return best
}

// points put the grade before the field: a whole label is more than a part of a name.
func points(g grade, weight uint8) int {
	return [...]int{0, 1, 4, 10, 16, 24}[g] * int(weight)
}

// where names the fields in which the words matched best.
func (s *segment) where(i int, words []looked) (out []Match) {
	from, to := s.span(i)
	for k := range words {
		l, best, at := &words[k], 0, from
		for n := from; n < to; n++ {
			f, v := s.field[n], s.value[n]
			g := grade(0)
			if l.named != nil && l.named[f] && best == 0 {
				best, at = 1, n
			}
			if l.text != nil {
				g = l.text[v]
			}
			if l.value != nil && l.fields[f] {
				g = max(g, l.value[v])
			}
			if p := points(g, s.weight[f]); p > best {
				best, at = p, n
			}
		}
		if best == 0 {
			continue
		}
		m := Match{Field: s.fieldName(s.field[at]), Text: s.dict.get(s.value[at])}
		if !contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

func contains(all []Match, m Match) bool {
	for _, other := range all {
		if other == m {
			return true
		}
	}
	return false
}

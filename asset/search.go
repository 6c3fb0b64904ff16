package asset

import (
	"cmp"
	"container/heap"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Found is a resource as answers show it.
type Found struct {
	Kind string `json:"kind"`
	// ID is the same on every island and after every start.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Island is the one that knows it; Islands are all where several do.
	Island  string   `json:"island"`
	Islands []string `json:"islands,omitempty"`
	State   string   `json:"state,omitempty"`
	// Labels are the first MaxShown.
	Labels  map[string]string `json:"labels"`
	Summary string            `json:"summary"`
	// Href is its page in the portal.
	Href string `json:"href"`
	// Match says in which fields the words are.
	Match []Match `json:"match,omitempty"`
	// Discovered are labels that only discovery knows; where one resource is asked for.
	Discovered map[string]string `json:"discovered,omitempty"`

	score int
	ref   string
}

// Match is a field in which a word was found.
type Match struct {
	Field string `json:"field"`
	Text  string `json:"text"`
}

// Answer is what a search found.
type Answer struct {
	// Items are the best ones, the best first.
	Items []Found `json:"items"`
	// Counts are of all that match, by kind.
	Counts map[string]int `json:"counts"`
	// TookMs is the time of the search in milliseconds.
	TookMs float64 `json:"took_ms"`
	// Islands are those that were asked.
	Islands []Asked `json:"islands"`
}

// Asked is how asking an island went.
type Asked struct {
	Name     string `json:"name"`
	Answered bool   `json:"answered"`
	Error    string `json:"error,omitempty"`
}

const (
	// MaxLimit is how many resources one answer has at most.
	MaxLimit = 200
	// DefaultLimit is how many there are without being told.
	DefaultLimit = 20
	// MaxShown is how many labels are shown with what a search found.
	MaxShown = 24
)

// hit is a resource that matches.
type hit struct {
	score   int
	seg     *segment
	place   int // of the segment
	row     int
	nameLen int
}

// better puts the higher score first, then the shorter name, then the order of names.
func (a *hit) compare(b *hit) int {
	return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.nameLen, b.nameLen), cmp.Compare(a.place, b.place), cmp.Compare(a.row, b.row))
}

// best keeps the best hits of one kind; the worst of them is on top.
type best []hit

func (b best) Len() int           { return len(b) }
func (b best) Less(i, j int) bool { return b[i].compare(&b[j]) > 0 }
func (b best) Swap(i, j int)      { b[i], b[j] = b[j], b[i] }

// Push implements heap.Interface.
func (b *best) Push(x any) { *b = append(*b, x.(hit)) }

// Pop implements heap.Interface.
func (b *best) Pop() any {
	last := (*b)[len(*b)-1]
	*b = (*b)[:len(*b)-1]
	return last
}

func (b *best) offer(h hit, limit int) {
	if len(*b) < limit {
		heap.Push(b, h)
		return
	}
	if limit > 0 && h.compare(&(*b)[0]) < 0 {
		(*b)[0] = h
		heap.Fix(b, 0)
	}
}

// Search looks in what this island knows. Every kind that matches has a share of the
// limit, so that ten thousand targets do not hide the one alert.
func (v *Inventory) Search(q Query, limit int) Answer {
	begin := time.Now()
	segments := v.all()
	words := v.lookUp(segments, q)
	var tops [kinds]best
	var counts [kinds]int
	for place, s := range segments {
		if words[place] != nil || q.Empty() {
			collect(s, place, words[place], q, limit, &tops, &counts)
		}
	}
	a := Answer{Items: []Found{}, Counts: map[string]int{}}
	for _, h := range choose(&tops, limit) {
		f := v.show(h.seg, h.row, MaxShown)
		f.Match, f.score = h.seg.where(h.row, words[h.place]), h.score
		a.Items = append(a.Items, f)
	}
	for k, n := range counts {
		if n > 0 {
			a.Counts[Kind(k).String()] = n
		}
	}
	took := time.Since(begin)
	v.metrics.searched.Observe(took.Seconds())
	a.TookMs = milliseconds(took)
	a.Islands = []Asked{{Name: v.o.Island(), Answered: true}}
	return a
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// lookUp looks each word up in each segment; nil where one of them is nowhere in it.
// A word that is nowhere at all is looked up again with one letter wrong.
func (v *Inventory) lookUp(segments []*segment, q Query) [][]looked {
	island := v.o.Island()
	out := make([][]looked, len(segments))
	missing := make([]bool, len(segments))
	for i := range out {
		out[i] = make([]looked, len(q.words))
	}
	for w, word := range q.words {
		found := make([]bool, len(segments))
		for _, forgiving := range []bool{false, true} {
			for i, s := range segments {
				out[i][w], found[i] = s.look(word, island, forgiving)
			}
			if slices.Contains(found, true) {
				break
			}
		}
		for i, ok := range found {
			missing[i] = missing[i] || !ok
		}
	}
	for i := range out {
		if missing[i] {
			out[i] = nil
		}
	}
	return out
}

func collect(s *segment, place int, words []looked, q Query, limit int, tops *[kinds]best, counts *[kinds]int) {
	for i, kind := range s.kinds {
		if !q.kinds.has(kind) {
			continue
		}
		score := weights[kind]
		for w := range words {
			p := s.score(i, &words[w])
			if p == 0 {
				score = 0
				break
			}
			score += p * 8
		}
		if score == 0 {
			continue
		}
		counts[kind]++
		tops[kind].offer(hit{score: score, seg: s, place: place, row: i, nameLen: s.nameLen(i)}, limit)
	}
}

// nameLen is the length of the name; it decides among equals.
func (s *segment) nameLen(i int) int {
	from, to := s.span(i)
	if from == to || s.field[from] != fieldName {
		return 0
	}
	n := s.value[from]
	start := uint32(0)
	if n > 0 {
		start = s.dict.ends[n-1]
	}
	return int(s.dict.ends[n] - start)
}

// choose takes the best of all kinds, but of each kind its share first.
func choose(tops *[kinds]best, limit int) []hit {
	matched := 0
	for k := range tops {
		slices.SortFunc(tops[k], func(a, b hit) int { return a.compare(&b) })
		if len(tops[k]) > 0 {
			matched++
		}
	}
	if matched == 0 {
		return nil
	}
	share := max(1, limit/(2*matched))
	var sure, rest []hit
	for k := range tops {
		n := min(share, len(tops[k]))
		sure, rest = append(sure, tops[k][:n]...), append(rest, tops[k][n:]...)
	}
	order := func(a, b hit) int { return a.compare(&b) }
	slices.SortFunc(sure, order)
	slices.SortFunc(rest, order)
	out := slices.Concat(sure, rest)
	out = out[:min(limit, len(out))]
	slices.SortFunc(out, order)
	return out
}

// show makes the answer's form of a resource.
func (v *Inventory) show(s *segment, i, mostLabels int) Found {
	f := Found{
		Kind: s.kinds[i].String(), ID: formatID(s.ids[i]), Island: v.o.Island(),
		Name: s.text(i, fieldName), State: s.text(i, fieldState), Summary: s.text(i, fieldSummary), Labels: map[string]string{},
	}
	from, _ := s.span(i)
	for n := from; n < from+uint32(s.shown[i]) && len(f.Labels) < mostLabels; n++ {
		if s.field[n] >= firstLabel {
			f.Labels[s.fieldName(s.field[n])] = s.dict.get(s.value[n])
		}
	}
	f.ref = s.text(i, fieldRef)
	f.Href = href(s.kinds[i], f.Name, f.ref, func(name string) string { return f.Labels[name] })
	return f
}

func formatID(id uint64) string {
	s := strconv.FormatUint(id, 16)
	return strings.Repeat("0", 16-len(s)) + s
}

func parseID(text string) (uint64, bool) {
	id, err := strconv.ParseUint(text, 16, 64)
	return id, err == nil && len(text) == 16
}

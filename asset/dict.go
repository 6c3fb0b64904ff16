package asset

import (
	"bytes"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// grade is how well a word matches a text. The zero value is not at all.
type grade = uint8

// Grades, the better the higher.
const (
	similar   grade = 1 + iota // one letter off
	within                     // somewhere inside
	tokenHead                  // at the beginning of a part: "prod" in "db-prod-3"
	head                       // at the beginning
	whole
)

// dict holds texts one after the other. Texts without capitals come first: searching
// needs no second copy of them. The number of a text is its place, from 0.
type dict struct {
	text []byte
	ends []uint32
	// low is the lower-case form of the texts from the number mixed on.
	mixed   int
	low     []byte
	lowEnds []uint32
}

func (d *dict) len() int { return len(d.ends) }

func (d *dict) bytes() int {
	return cap(d.text) + cap(d.low) + 4*(cap(d.ends)+cap(d.lowEnds))
}

// get returns a text; it shares no memory with the dictionary.
func (d *dict) get(n uint32) string {
	start := uint32(0)
	if n > 0 {
		start = d.ends[n-1]
	}
	return string(d.text[start : d.ends[n]-1])
}

// compile makes a dictionary of texts, which must be distinct, and says which number
// each has got.
func compile(texts []string) (dict, []uint32) {
	var d dict
	size, lowSize := 0, 0
	low := make([]string, len(texts))
	for i, s := range texts {
		size += len(s) + 1
		if l := lower(s); l != s {
			low[i] = l
			lowSize += len(l) + 1
			continue
		}
		d.mixed++
	}
	d.text, d.ends = make([]byte, 0, size), make([]uint32, 0, len(texts))
	d.low, d.lowEnds = make([]byte, 0, lowSize), make([]uint32, 0, len(texts)-d.mixed)
	numbers := make([]uint32, len(texts))
	for _, capitals := range []bool{false, true} {
		for i, s := range texts {
			if (low[i] != "") != capitals {
				continue
			}
			numbers[i] = uint32(len(d.ends))
			d.text = append(append(d.text, s...), separator)
			d.ends = append(d.ends, uint32(len(d.text)))
			if capitals {
				d.low = append(append(d.low, low[i]...), separator)
				d.lowEnds = append(d.lowEnds, uint32(len(d.low)))
			}
		}
	}
	return d, numbers
}

// separator ends each text; none holds it.
const separator = '\n'

// plain is the searchable form of the texts without capitals.
func (d *dict) plain() []byte {
	if d.mixed == 0 {
		return nil
	}
	return d.text[:d.ends[d.mixed-1]]
}

// find grades all texts by a word in lower case. It reports whether any matches.
func (d *dict) find(w string, into []grade) bool {
	if w == "" || strings.IndexByte(w, separator) >= 0 {
		return false
	}
	a := findIn(d.plain(), d.ends[:d.mixed], []byte(w), into[:d.mixed])
	b := findIn(d.low, d.lowEnds, []byte(w), into[d.mixed:])
	return a || b
}

func findIn(text []byte, ends []uint32, w []byte, into []grade) (any bool) {
	for n, at := 0, 0; at < len(text); {
		i := bytes.Index(text[at:], w)
		if i < 0 {
			break
		}
		at += i
		n += after(ends[n:], uint32(at))
		start, end := 0, int(ends[n])-1
		if n > 0 {
			start = int(ends[n-1])
		}
		into[n], any = max(into[n], gradeAt(text[start:end], at-start, w)), true
		at = end + 1
		n++
	}
	return any
}

// after is the number of the first end behind a place. It is near: most words match
// a great many texts or few.
func after(ends []uint32, at uint32) int {
	for step := 1; ; step *= 2 {
		if step >= len(ends) || ends[step] > at {
			lo := step / 2
			hi := min(step+1, len(ends))
			n, _ := slices.BinarySearch(ends[lo:hi], at+1)
			return lo + n
		}
	}
}

// gradeAt is the best match of w in a text, of which the first is at a place.
func gradeAt(text []byte, at int, w []byte) grade {
	if at == 0 {
		if len(text) == len(w) {
			return whole
		}
		return head
	}
	for {
		if r, _ := utf8.DecodeLastRune(text[:at]); !wordly(r) {
			return tokenHead
		}
		i := bytes.Index(text[at+1:], w)
		if i < 0 {
			return within
		}
		at += 1 + i
	}
}

func wordly(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// each calls f with every text in lower case.
func (d *dict) each(f func(n int, text []byte)) {
	walk(d.plain(), d.ends[:d.mixed], 0, f)
	walk(d.low, d.lowEnds, d.mixed, f)
}

func walk(text []byte, ends []uint32, first int, f func(int, []byte)) {
	start := uint32(0)
	for n, end := range ends {
		f(first+n, text[start:end-1])
		start = end
	}
}

// findNetwork grades texts that are addresses in a network, with or without port.
func (d *dict) findNetwork(p netip.Prefix, into []grade) (any bool) {
	d.each(func(n int, text []byte) {
		if a, ok := addressOf(text); ok && p.Contains(a) {
			into[n], any = max(into[n], head), true
		}
	})
	return any
}

// addressOf reads an address with or without port.
func addressOf(text []byte) (netip.Addr, bool) {
	const shortest, longest = 2, 64
	if len(text) < shortest || len(text) > longest {
		return netip.Addr{}, false
	}
	host := text
	if text[0] == '[' {
		end := bytes.IndexByte(text, ']')
		if end < 0 {
			return netip.Addr{}, false
		}
		host = text[1:end]
	} else if colon := bytes.IndexByte(text, ':'); colon > 0 && bytes.IndexByte(text[colon+1:], ':') < 0 {
		host = text[:colon]
	}
	// Most texts are no address, and an error costs more than to see that here.
	marks := 0
	for _, c := range host {
		switch {
		case c == '.' || c == ':':
			marks++
		case '0' <= c && c <= '9', 'a' <= c && c <= 'f':
		default:
			return netip.Addr{}, false
		}
	}
	if marks == 0 {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(string(host))
	return a.Unmap(), err == nil
}

// findSimilar grades texts in which as many parts as a word has are that word but for
// one letter that is wrong, missing or too much, or two that are swapped.
func (d *dict) findSimilar(w string, into []grade) (any bool) {
	want := []byte(w)
	parts := countParts(want)
	if parts == 0 || !hasLetter(want) {
		return false // numbers that are like others mean nothing
	}
	d.candidates(want, func(n int, text []byte) {
		if into[n] < similar && similarTo(text, want, parts) {
			into[n], any = similar, true
		}
	})
	return any
}

// candidates calls f with the texts that may be similar: of three pieces of a word,
// one letter or two that are next to each other leave one as it is.
func (d *dict) candidates(want []byte, f func(n int, text []byte)) {
	const pieces, shortest = 3, 6
	if len(want) < shortest {
		d.each(f)
		return
	}
	for i := range pieces {
		piece := want[i*len(want)/pieces : (i+1)*len(want)/pieces]
		holding(d.plain(), d.ends[:d.mixed], 0, piece, f)
		holding(d.low, d.lowEnds, d.mixed, piece, f)
	}
}

// holding calls f with each text that has a piece in it.
func holding(text []byte, ends []uint32, first int, piece []byte, f func(int, []byte)) {
	for n, at := 0, 0; at < len(text); n++ {
		i := bytes.Index(text[at:], piece)
		if i < 0 {
			return
		}
		n += after(ends[n:], uint32(at+i))
		start := uint32(0)
		if n > 0 {
			start = ends[n-1]
		}
		f(first+n, text[start:ends[n]-1])
		at = int(ends[n])
	}
}

// partByte is of letters and digits; bytes of other alphabets count as such.
func partByte(c byte) bool {
	return c >= utf8.RuneSelf || 'a' <= c && c <= 'z' || '0' <= c && c <= '9'
}

func hasLetter(w []byte) bool {
	return bytes.ContainsFunc(w, unicode.IsLetter)
}

func countParts(w []byte) (n int) {
	for i, c := range w {
		if partByte(c) && (i == 0 || !partByte(w[i-1])) {
			n++
		}
	}
	return n
}

// similarTo compares each run of so many parts of a text with a word.
func similarTo(text, want []byte, parts int) bool {
	for start := range text {
		if !partByte(text[start]) || start > 0 && partByte(text[start-1]) {
			continue
		}
		end, left := start, parts
		for end < len(text) && end-start <= len(want)+1 {
			if end++; end == len(text) || partByte(text[end-1]) && !partByte(text[end]) {
				if left--; left == 0 {
					break
				}
			}
		}
		if n := end - start; left == 0 && n >= len(want)-1 && n <= len(want)+1 && oneOff(text[start:end], want) {
			return true
		}
	}
	return false
}

func oneOff(a, b []byte) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	i := 0
	for i < len(a) && a[i] == b[i] {
		i++
	}
	if len(a) < len(b) {
		return bytes.Equal(a[i:], b[i+1:])
	}
	if i == len(a) {
		return true
	}
	if bytes.Equal(a[i+1:], b[i+1:]) {
		return true
	}
	return i+1 < len(a) && a[i] == b[i+1] && a[i+1] == b[i] && bytes.Equal(a[i+2:], b[i+2:])
}

package asset

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"
)

// Bounds of a query. Both are far above what somebody types into a box.
const (
	MaxQuery = 512
	maxWords = 8
)

// Query is what somebody looks for: resources in which every word occurs, of one of
// the kinds.
type Query struct {
	words []word
	kinds kindSet
}

// kindSet has a bit for each kind; 0 is all.
type kindSet uint16

func (s kindSet) has(k Kind) bool { return s == 0 || s&(1<<k) != 0 }

func (s kindSet) with(k Kind) kindSet { return s | 1<<k }

// word is one that must occur: text anywhere, or value under a label whose name is
// field, where field is set; a name or a URL has a colon too, so either will do.
type word struct {
	text         string
	field, value string
	// network is set for one as 10.1.0.0/16: addresses in it.
	network netip.Prefix
}

// Parse reads what somebody typed so far, so that hardly anything is an error:
// words, "several words", label:value, label:"several words", kind:host. Letters are
// compared without case.
func Parse(text string) (Query, error) {
	var q Query
	if len(text) > MaxQuery {
		return q, fmt.Errorf("%d bytes are longer than the %d that a search may have", len(text), MaxQuery)
	}
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, " "))
	for {
		var field, value string
		field, value, text = nextWord(text)
		if field == "" && value == "" {
			if text == "" {
				return q, nil
			}
			continue
		}
		if q.addKinds(field, value) {
			continue
		}
		if len(q.words) == maxWords {
			return Query{}, fmt.Errorf("more than %d words", maxWords)
		}
		q.words = append(q.words, newWord(field, value))
	}
}

// nextWord takes one word off the front; field is what stands before a colon that
// may end a label's name.
func nextWord(text string) (field, value, rest string) {
	text = strings.TrimLeftFunc(text, unicode.IsSpace)
	if n := fieldLength(text); n > 0 {
		field, text = text[:n], text[n+1:]
	}
	if strings.HasPrefix(text, `"`) {
		value, rest, _ = strings.Cut(text[1:], `"`)
		return field, strings.TrimSpace(value), rest
	}
	if n := strings.IndexFunc(text, unicode.IsSpace); n >= 0 {
		return field, text[:n], text[n:]
	}
	return field, text, ""
}

// fieldLength is the length of a label's name at the start of s with a colon behind
// it, or 0.
func fieldLength(s string) int {
	for i := range len(s) {
		switch c := s[i]; {
		case c == ':':
			return i
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', i > 0 && '0' <= c && c <= '9':
		default:
			return 0
		}
	}
	return 0
}

// addKinds takes kind:NAME, also while the name is typed.
func (q *Query) addKinds(field, value string) bool {
	if !strings.EqualFold(field, "kind") || value == "" {
		return false
	}
	value = strings.ToLower(value)
	if k, ok := KindOf(value); ok {
		q.kinds = q.kinds.with(k)
		return true
	}
	any := false
	for k, name := range kindNames {
		if strings.HasPrefix(name, value) {
			q.kinds, any = q.kinds.with(Kind(k)), true
		}
	}
	return any
}

func newWord(field, value string) word {
	w := word{text: lower(value)}
	if field != "" {
		w.field, w.value, w.text = strings.ToLower(field), w.text, lower(field+":"+value)
	}
	// An IPv4 network as typed may have bits of a host: 10.1.2.3/16.
	if p, err := netip.ParsePrefix(w.text); err == nil {
		w.network = p.Masked()
	}
	if p, err := netip.ParsePrefix(w.value); err == nil && w.field != "" {
		w.network = p.Masked()
	}
	return w
}

// lower makes letters comparable; the dictionary holds the same.
func lower(s string) string { return strings.ToLower(s) }

// Only restricts the query to kinds besides what it says itself.
func (q Query) Only(only ...Kind) Query {
	var s kindSet
	for _, k := range only {
		s = s.with(k)
	}
	switch {
	case s == 0:
	case q.kinds == 0:
		q.kinds = s
	case q.kinds&s == 0:
		q.kinds = 1 << 15 // of no kind
	default:
		q.kinds &= s
	}
	return q
}

// Empty reports whether the query has no words, so that everything matches.
func (q Query) Empty() bool { return len(q.words) == 0 }

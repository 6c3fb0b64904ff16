package policy

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// token is one word of policy text. Positions are what the parser loses: its
// tree knows only where each policy begins.
type token struct {
	text         string
	line, column int // from 1; columns count characters
	offset       int // bytes
}

// tokenize splits text that Cedar's own scanner may or may not accept: what it
// would refuse becomes some token or other. The last token is empty and stands
// at the end of the text.
func tokenize(text string) []token {
	var out []token
	line, lineStart := 1, 0
	for i := 0; i < len(text); {
		n := tokenLength(text[i:])
		word := text[i : i+n]
		if !blank(word) {
			out = append(out, token{word, line, utf8.RuneCountInString(text[lineStart:i]) + 1, i})
		}
		if nl := strings.Count(word, "\n"); nl > 0 {
			line += nl
			lineStart = i + strings.LastIndexByte(word, '\n') + 1
		}
		i += n
	}
	return append(out, token{"", line, utf8.RuneCountInString(text[lineStart:]) + 1, len(text)})
}

func blank(word string) bool {
	return strings.HasPrefix(word, "//") || strings.HasPrefix(word, "/*") || strings.TrimLeft(word[:1], " \t\r\n") == ""
}

// tokenLength is how many bytes the word at the start of s has, at least 1.
func tokenLength(s string) int {
	for _, mark := range []string{"::", "==", "!=", "<=", ">=", "&&", "||"} {
		if strings.HasPrefix(s, mark) {
			return 2
		}
	}
	switch {
	case strings.HasPrefix(s, "//"):
		return lengthUntil(s, "\n", 2)
	case strings.HasPrefix(s, "/*"):
		return lengthUntil(s, "*/", 2)
	case s[0] == '"':
		return stringLength(s)
	case isWord(rune(s[0])):
		if n := strings.IndexFunc(s, func(r rune) bool { return !isWord(r) }); n > 0 {
			return n
		}
		return len(s)
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

func lengthUntil(s, end string, from int) int {
	if n := strings.Index(s[from:], end); n >= 0 {
		return from + n + len(end)
	}
	return len(s)
}

func stringLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		case '\n':
			return i
		}
	}
	return len(s)
}

func isWord(r rune) bool {
	return r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}

// find is where the words of wanted first follow each other.
func find(tokens []token, wanted ...string) (int, bool) {
	for i := range tokens {
		if i+len(wanted) > len(tokens) {
			break
		}
		if slices.EqualFunc(tokens[i:i+len(wanted)], wanted, func(t token, w string) bool { return t.text == w }) {
			return i, true
		}
	}
	return 0, false
}

// words splits a needle as the text is split.
func words(s string) []string {
	var out []string
	for _, t := range tokenize(s) {
		if t.text != "" {
			out = append(out, t.text)
		}
	}
	return out
}

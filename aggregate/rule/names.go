package rule

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// quoteNames puts what PromQL takes for no name, and MetricsQL does, into quotes:
// foo.bar{a\-b="c"} becomes "foo.bar"{"a-b"="c"}. Strings stay as they are.
func quoteNames(text string) string {
	var out strings.Builder
	for rest := text; rest != ""; {
		if n := quotedEnd(rest); n > 0 {
			out.WriteString(rest[:n])
			rest = rest[n:]
			continue
		}
		name, n := scanName(rest)
		switch {
		case n == 0:
			_, size := utf8.DecodeRuneInString(rest)
			out.WriteString(rest[:size])
			n = size
		case isPlain(rest[:n]):
			out.WriteString(rest[:n])
		default:
			out.WriteString(strconv.Quote(name))
		}
		rest = rest[n:]
	}
	return out.String()
}

// quotedEnd is the length of the string that text begins with, 0 for none. One
// without an end goes to the end.
func quotedEnd(text string) int {
	quote := text[0]
	if quote != '"' && quote != '\'' && quote != '`' {
		return 0
	}
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == quote:
			return i + 1
		case text[i] == '\\' && quote != '`':
			i++
		}
	}
	return len(text)
}

// scanName reads the name that text begins with: without its backslashes, and how
// long it is with them. Escapes by number (\x2e) are none here.
func scanName(text string) (name string, length int) {
	var out strings.Builder
	for length < len(text) {
		r, size := utf8.DecodeRuneInString(text[length:])
		switch {
		case r == '\\':
			escaped, more := utf8.DecodeRuneInString(text[length+size:])
			if more == 0 || !unicode.IsPrint(escaped) || strings.ContainsRune("xXuU", escaped) {
				return out.String(), length
			}
			r, size = escaped, size+more
		case r == utf8.RuneError && size < 2, !isNameRune(r, length == 0):
			return out.String(), length
		}
		out.WriteRune(r)
		length += size
	}
	return out.String(), length
}

func isNameRune(r rune, first bool) bool {
	return r == '_' || r == ':' || unicode.IsLetter(r) || !first && (r == '.' || r >= '0' && r <= '9')
}

func isPlain(name string) bool {
	for i := range len(name) {
		if !isWord(name[i]) {
			return false
		}
	}
	return true
}

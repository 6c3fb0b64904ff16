package enrol

import (
	"strings"
	"unicode"
)

// printable makes one line for a terminal of what somebody else wrote.
func printable(s string) string {
	if len(s) > maxRefusal {
		s = s[:maxRefusal]
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || !unicode.IsPrint(r) && r != ' ' {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

package web

import (
	"bytes"
	"slices"
	"strings"
)

// ordered are the headers as they came, or by name where the protocol's library does
// not tell the order.
func ordered(a *answer) [][2]string {
	if len(a.raw) > 0 {
		return splitHeaders(a.raw)
	}
	var all [][2]string
	for name, values := range a.Header {
		for _, v := range values {
			all = append(all, [2]string{name, v})
		}
	}
	slices.SortStableFunc(all, func(x, y [2]string) int { return strings.Compare(x[0], y[0]) })
	return all
}

// splitHeaders takes the last head (interim answers have their own) from the text
// that begins with it. What is folded belongs to the line before.
func splitHeaders(raw []byte) [][2]string {
	var all [][2]string
	for {
		line, rest, _ := bytes.Cut(raw, []byte("\n"))
		interim := len(line) > 9 && bytes.HasPrefix(line, []byte("HTTP/")) && bytes.Contains(line[:min(len(line), 12)], []byte(" 1"))
		all, raw = splitHead(rest)
		if !interim || !bytes.HasPrefix(raw, []byte("HTTP/")) {
			return all
		}
	}
}

func splitHead(raw []byte) (all [][2]string, rest []byte) {
	for len(raw) > 0 {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte("\n"))
		text := strings.TrimRight(string(line), "\r")
		if text == "" {
			break
		}
		if (text[0] == ' ' || text[0] == '\t') && len(all) > 0 {
			all[len(all)-1][1] += " " + strings.TrimSpace(text)
			continue
		}
		if name, value, ok := strings.Cut(text, ":"); ok {
			all = append(all, [2]string{name, strings.TrimSpace(value)})
		}
	}
	return all, raw
}

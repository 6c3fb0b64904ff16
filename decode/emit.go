package decode

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// plainSafe is what may stand unquoted in flow style and be resolved by any YAML
// library exactly as it was in the file (numbers, booleans, words).
var plainSafe = regexp.MustCompile(`^(?:[A-Za-z0-9_./~+]|-[A-Za-z0-9._])[A-Za-z0-9_./+-]*$`)

// Text writes a tree from Parse as YAML in flow style. Positions are lost, values
// are not: what was plain stays plain, what was quoted stays text.
func Text(n *yaml.Node) []byte {
	var b strings.Builder
	emit(&b, n)
	b.WriteByte('\n')
	return []byte(b.String())
}

func emit(b *strings.Builder, n *yaml.Node) {
	if n.Style&yaml.TaggedStyle != 0 && n.Tag != "" {
		emitTag(b, n.Tag)
	}
	switch n.Kind {
	case yaml.MappingNode:
		b.WriteByte('{')
		for i := 0; i+1 < len(n.Content); i += 2 {
			if i > 0 {
				b.WriteString(", ")
			}
			// The explicit key keeps long keys legal: implicit ones end at 1024 bytes.
			b.WriteString("? ")
			emit(b, n.Content[i])
			b.WriteString(" : ")
			emit(b, n.Content[i+1])
		}
		b.WriteByte('}')
	case yaml.SequenceNode:
		b.WriteByte('[')
		for i, item := range n.Content {
			if i > 0 {
				b.WriteString(", ")
			}
			emit(b, item)
		}
		b.WriteByte(']')
	default:
		emitScalar(b, n)
	}
}

func emitTag(b *strings.Builder, tag string) {
	short := strings.HasPrefix(tag, "!")
	if !short {
		b.WriteString("!<")
	}
	for i := range len(tag) {
		if c := tag[i]; c == '!' || c == ':' || c == '_' || c == '-' || c == '.' || c == ',' || c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(b, "%%%02X", c)
		}
	}
	if !short {
		b.WriteByte('>')
	}
	b.WriteByte(' ')
}

func emitScalar(b *strings.Builder, n *yaml.Node) {
	const notPlain = yaml.DoubleQuotedStyle | yaml.SingleQuotedStyle | yaml.LiteralStyle | yaml.FoldedStyle
	switch {
	case n.Style&notPlain == 0 && n.Value != "..." && plainSafe.MatchString(n.Value):
		b.WriteString(n.Value)
	case n.Style&notPlain == 0 && n.Style&yaml.TaggedStyle == 0 && n.Value == "":
		b.WriteString("null")
	default:
		if n.Style == 0 && n.ShortTag() == "!!timestamp" {
			b.WriteString("!!timestamp ") // with a time of day, it has spaces and colons
		}
		emitQuoted(b, n.Value)
	}
}

func emitQuoted(b *strings.Builder, s string) {
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == ' ' || r < unicode.MaxASCII && unicode.IsPrint(r):
			b.WriteRune(r)
		case r < 0x10000:
			fmt.Fprintf(b, `\u%04X`, r)
		default:
			fmt.Fprintf(b, `\U%08X`, r)
		}
	}
	b.WriteByte('"')
}

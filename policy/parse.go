package policy

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
)

//go:embed default.cedar
var defaultText string

// Default is the policy in force in a network that has set none: readable text.
func Default() []byte { return []byte(defaultText) }

// What one text may hold: each document that arrives is asked about, and every
// policy is looked at for every question.
const (
	maxText     = 64 << 10 // bytes
	maxPolicies = 500
	maxNesting  = 64
	maxLabels   = 100
)

// Parse reads and checks policy text; name is how errors and reasons call it.
// The error is an *Error that lists everything found wrong.
func Parse(name string, text []byte) (*Set, error) {
	tokens := tokenize(string(text[:min(len(text), maxText+1)]))
	if p, ok := tooMuch(text, tokens); ok {
		return nil, &Error{name, []Problem{p}}
	}
	list, err := cedar.NewPolicyListFromBytes(name, text)
	if err != nil {
		return nil, &Error{name, []Problem{syntaxProblem(err, tokens)}}
	}
	s := &Set{name: name, policies: list, where: map[cedar.PolicyID]string{}, users: speaksOfUsers(list)}
	var found, doubtful []Problem
	check, err := newChecker(list, s.users)
	if err != nil {
		return nil, &Error{name, []Problem{{1, 1, err.Error()}}}
	}
	for i, p := range list {
		ps := &problems{tokens: tokensOf(list, i, tokens)}
		id := cedar.PolicyID(p.Annotations()["id"])
		switch {
		case id == "":
			id = cedar.PolicyID(fmt.Sprintf("#%d", i+1))
		case slices.Contains(s.ids, id):
			ps.at(0, "the name @id(%q) is taken by an earlier policy", id)
		}
		s.ids = append(s.ids, id)
		check.policy(p, ps)
		found = append(found, ps.found...)
		warn := &problems{tokens: ps.tokens}
		doubt(p, warn)
		doubtful = append(doubtful, warn.found...)
		s.where[id] = fmt.Sprintf("policy %q (%s:%d)", id, name, p.Position().Line)
	}
	if len(found) > 0 {
		return nil, &Error{name, sorted(found)}
	}
	s.warnings = append(lines(name, sorted(doubtful)), s.lockout()...)
	return s, nil
}

// lockout warns where admins could not undo what the text does.
func (s *Set) lockout() []string {
	here := Resource{Kind: Island, Name: "-"}
	var out []string
	if d := s.Authorize(Principal{ID: "-", Name: "an admin", Role: "admin"}, Administer, here); !d.Allowed {
		out = append(out, s.name+":1:1: admins may not administer islands: "+d.Reason)
	}
	if !s.users {
		return out
	}
	if d := s.AuthorizeUser(User{Name: "-", Roles: []string{"admin"}}, Administer, here); !d.Allowed {
		out = append(out, s.name+":1:1: users of role admin may not administer islands: "+d.Reason)
	}
	return out
}

// tokensOf cuts the tokens of policy i, and the end of the text, out of all.
func tokensOf(list cedar.PolicyList, i int, tokens []token) []token {
	at := func(offset int) int {
		n, _ := slices.BinarySearchFunc(tokens, offset, func(t token, o int) int { return t.offset - o })
		return n
	}
	from := at(list[i].Position().Offset)
	if i+1 < len(list) {
		return tokens[from:at(list[i+1].Position().Offset)]
	}
	return tokens[from:]
}

// tooMuch holds the text to its limits before anything recursive sees it.
func tooMuch(text []byte, tokens []token) (Problem, bool) {
	if len(text) > maxText {
		return Problem{1, 1, fmt.Sprintf("the text has %d bytes; at most %d are read", len(text), maxText)}, true
	}
	if i := binaryAt(text); i >= 0 {
		end := tokenize(string(text[:i]))
		at := end[len(end)-1]
		return Problem{at.line, at.column, "there is something that is not UTF-8 text"}, true
	}
	depth, count, signs := 0, 0, 0
	for _, t := range tokens {
		switch t.text {
		case "(", "[", "{":
			depth++
		case ")", "]", "}":
			depth--
		case ";":
			count++
		}
		if signs++; t.text != "!" && t.text != "-" {
			signs = 0
		}
		if depth > maxNesting || signs > maxNesting {
			return Problem{t.line, t.column, fmt.Sprintf("more than %d brackets or signs within each other: split the policy", maxNesting)}, true
		}
		if count > maxPolicies {
			return Problem{t.line, t.column, fmt.Sprintf("more than %d policies: join some of them", maxPolicies)}, true
		}
	}
	return Problem{}, false
}

// binaryAt is where the first byte stands that no text has, or -1.
func binaryAt(text []byte) int {
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		if r == 0 || r == utf8.RuneError && n == 1 {
			return i
		}
		i += n
	}
	return -1
}

var position = regexp.MustCompile(`^(?:parser error: )?(?:parse error at )?<input>:(\d+):(\d+)(?: "(?:[^"\\]|\\.)*")?: (.*)$`)

// syntaxProblem gives Cedar's complaint a person's words and the right place:
// mostly it names the token after the one it stumbled over.
func syntaxProblem(err error, tokens []token) Problem {
	m := position.FindStringSubmatch(err.Error())
	if m == nil {
		return unplaced(strings.TrimPrefix(err.Error(), "parser error: "), tokens)
	}
	line, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	text := m[3]
	i := slices.IndexFunc(tokens, func(t token) bool { return t.line == line && t.column == column })
	if i < 0 || !strings.Contains(err.Error(), "parse error at") {
		return Problem{line, column, text}
	}
	if m := function.FindStringSubmatch(text); m != nil {
		for ; i > 0 && tokens[i].text != m[1]; i-- {
		}
		return Problem{tokens[i].line, tokens[i].column, text}
	}
	if behind(text) && i > 0 && (tokens[i].text != "" || !strings.HasPrefix(text, "exact got  want")) {
		i--
	}
	return Problem{tokens[i].line, tokens[i].column, inWords(text, tokens[i].text)}
}

var function = regexp.MustCompile("^`(.*)` is (?:not )?a (?:method|function)")

var number = regexp.MustCompile(`parsing "-?(\d+)"`)

// unplaced is for complaints that come without a place.
func unplaced(text string, tokens []token) Problem {
	if m := number.FindStringSubmatch(text); m != nil {
		if i, ok := find(tokens, m[1]); ok {
			return Problem{tokens[i].line, tokens[i].column, "the number " + m[1] + " is too large"}
		}
	}
	return Problem{1, 1, text}
}

// behind reports whether the complaint was made after its token was passed.
func behind(text string) bool {
	for _, inPlace := range []string{"got ", "duplicate key", "expected end"} {
		if strings.HasPrefix(text, inPlace) {
			return false
		}
	}
	return true
}

var wanted = regexp.MustCompile(`^(?:exact )?got .*? ?want (.*)$`)

func inWords(text, saw string) string {
	found := fmt.Sprintf("found %q", saw)
	if saw == "" {
		found = "the text ends"
	}
	if saw == "'" {
		return found + ": texts stand in double quotes"
	}
	if strings.HasPrefix(text, "unexpected effect") {
		return found + ": a policy begins with permit or forbid"
	}
	if m := wanted.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("%s where %q should stand", found, m[1])
	}
	return fmt.Sprintf("%s: %s", found, text)
}

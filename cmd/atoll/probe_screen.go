package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/query/render"
)

// phase is how one phase is drawn.
type phase struct {
	name, short string
	letter      byte
	color       int // of ANSI's
}

// phases in the order in which they happen.
var phases = [...]phase{
	{"resolve", "dns", 'd', 36}, {"connect", "connect", 'c', 34}, {"tls", "tls", 't', 35},
	{"request", "send", 'r', 33}, {"first_byte", "wait", 'f', 32}, {"transfer", "body", 'x', 37},
}

// screen shows a run as it goes on.
type screen struct {
	out     io.Writer
	width   int
	color   bool
	verbose bool

	// again redraws a round in place of the one before.
	again, redraw bool
	round         int
	plan          *probe.RunPlan
	results       []*probe.RunResult
	ups           map[string][2]int // by vantage: rounds that were up, and all
}

const defaultColumns, leastColumns = 80, 60

func newScreen(out io.Writer, o render.Options, verbose bool) *screen {
	s := &screen{out: out, width: defaultColumns, color: o.Color, verbose: verbose, redraw: o.Width > 0, ups: map[string][2]int{}}
	if o.Width > 0 {
		s.width = max(o.Width, leastColumns)
	}
	return s
}

// watch shows round after round.
func (s *screen) watch() { s.again = true }

func (s *screen) show(e probe.RunEvent) error {
	switch {
	case e.Plan != nil:
		s.plan, s.results = e.Plan, nil
		s.round++
		return s.begin()
	case e.Result != nil:
		s.results = append(s.results, e.Result)
		if s.again {
			n := s.ups[e.Result.Vantage]
			if e.Result.State == probe.RunUp {
				n[0]++
			}
			n[1]++
			s.ups[e.Result.Vantage] = n
		}
		return s.write(s.vantage(e.Result))
	case e.End != nil:
		return s.write(s.end(e.End))
	}
	return nil
}

func (s *screen) write(text string) error {
	_, err := io.WriteString(s.out, text)
	return err
}

// begin draws what stands above the results; a terminal that watches is cleared.
func (s *screen) begin() error {
	var b strings.Builder
	switch {
	case s.again && s.redraw:
		b.WriteString("\x1b[H\x1b[2J") // home, and clear what was there
	case s.round > 1:
		b.WriteByte('\n')
	}
	title := fmt.Sprintf("%s, %s, %s", clean(s.plan.Target), clean(s.plan.Module), vantages(len(s.plan.Vantages)))
	if s.again {
		title += fmt.Sprintf(", %s, round %d", s.plan.At.Local().Format(time.TimeOnly), s.round)
	}
	b.WriteString(wrap(title, s.width, "  "))
	return s.write(b.String())
}

func vantages(n int) string {
	if n == 1 {
		return "1 vantage"
	}
	return fmt.Sprintf("%d vantages", n)
}

// cut ends a round that was stopped.
func (s *screen) cut() { _ = s.write("stopped\n") }

// nameColumns fits the names of all vantages, within reason.
func (s *screen) nameColumns() int {
	const least, most = 8, 18
	n := least
	for _, name := range s.plan.Vantages {
		n = max(n, utf8.RuneCountInString(name))
	}
	return min(n, most)
}

// Columns of a line beside the name: the time, and two spaces between any two.
const timeColumns, gaps = 8, 6

func (s *screen) barColumns() int { return (s.width - s.nameColumns() - timeColumns - gaps) * 2 / 5 }

// vantage is the line of one vantage, and what does not fit into it below.
func (s *screen) vantage(r *probe.RunResult) string {
	name, bar := s.nameColumns(), s.barColumns()
	rest := s.width - name - bar - timeColumns - gaps
	said, below := clean(r.State), clean(r.Words)
	switch r.State {
	case probe.RunUp:
		said, below = clean(r.Answered), clean(r.Remark)
		if both := strings.TrimSpace(said + "  " + below); utf8.RuneCountInString(s.history(r)+both) <= rest {
			said, below = both, ""
		}
	case probe.RunSlow, probe.RunDown:
		said = strings.ReplaceAll(clean(cmp.Or(r.Reason, r.State)), "_", " ")
	}
	said = s.history(r) + said
	took := ""
	if r.Took > 0 {
		took = short(r.Took)
	}
	var b strings.Builder
	line := fmt.Sprintf("%s  %s  %s  %s", pad(clip(clean(r.Vantage), name), name), s.bar(r, bar), lead(took, timeColumns), s.paint(r.State, clip(said, rest)))
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	if below != "" {
		b.WriteString(wrap("  "+below, s.width, "  "))
	}
	if s.verbose && len(r.Phases) > 0 {
		b.WriteString(wrap("  "+figures(r.Phases), s.width, "  "))
	}
	for _, record := range r.Records {
		b.WriteString(wrap("  "+clean(record), s.width, "    "))
	}
	b.WriteString(s.hops(r.Hops))
	return b.String()
}

// history is how often a vantage that is watched was up.
func (s *screen) history(r *probe.RunResult) string {
	if !s.again {
		return ""
	}
	n := s.ups[r.Vantage]
	return fmt.Sprintf("%d/%d up  ", n[0], n[1])
}

// paint colours what is not well.
func (s *screen) paint(state, text string) string {
	if !s.color || state == probe.RunUp || text == "" {
		return text
	}
	color := 31
	if state != probe.RunDown {
		color = 33
	}
	return fmt.Sprintf("\x1b[%dm%s\x1b[0m", color, text)
}

// barLength is how much of n columns a time takes: 1 of them for 1 ms and less, all
// for 10 s and more, with the logarithm between.
func barLength(seconds float64, n int) int {
	const shortest, longest = 1e-3, 10
	if seconds <= 0 {
		return 0
	}
	part := math.Log(seconds/shortest) / math.Log(longest/shortest)
	return min(n, max(1, 1+int(math.Round(part*float64(n-1)))))
}

// bar draws the phases, each as long as its part of the whole, and dashes for what is
// none of them, as the pauses between packets.
func (s *screen) bar(r *probe.RunResult, n int) string {
	total := 0.0
	for _, p := range phases {
		total += max(0, r.Phases[p.name])
	}
	total = max(total, r.Took)
	length := barLength(total, n)
	var b strings.Builder
	drawn, passed := 0, 0.0
	for _, p := range phases {
		passed += max(0, r.Phases[p.name])
		cells := min(length, int(math.Round(passed/total*float64(length)))) - drawn // no phase without a total
		if passed <= 0 || cells <= 0 {
			continue
		}
		drawn += cells
		if s.color {
			fmt.Fprintf(&b, "\x1b[%dm%s\x1b[0m", p.color, strings.Repeat(string(p.letter), cells))
		} else {
			b.WriteString(strings.Repeat(string(p.letter), cells))
		}
	}
	return b.String() + strings.Repeat("-", length-drawn) + strings.Repeat(" ", n-length)
}

// figures are the times of the phases that happened.
func figures(of map[string]float64) string {
	var parts []string
	for _, p := range phases {
		if of[p.name] > 0 {
			parts = append(parts, p.short+" "+short(of[p.name]))
		}
	}
	return strings.Join(parts, ", ")
}

// hops draws the way: a line for each distance, with a bar for the mean time.
func (s *screen) hops(hops []probe.RunHop) string {
	if len(hops) == 0 {
		return ""
	}
	// Number, loss, three times, and the spaces between and before the bar.
	const figures = 4 + 2 + 6 + 3*9 + 2
	address := 15
	for _, h := range hops {
		for _, a := range h.Addresses {
			address = max(address, len(a))
		}
	}
	address = min(address, 39, s.width-figures) // the longest address of IPv6, where it fits
	n := s.width - figures - address
	var b strings.Builder
	fmt.Fprintf(&b, "%4s  %s %5s %8s %8s %8s\n", "hop", pad("address", address), "loss", "best", "avg", "worst")
	for _, h := range hops {
		at, more := "*", []string(nil)
		if len(h.Addresses) > 0 {
			at, more = clean(h.Addresses[0]), h.Addresses[1:]
		}
		loss := "-"
		if h.Sent > 0 {
			loss = fmt.Sprintf("%.0f%%", float64(min(h.Lost, h.Sent))/float64(h.Sent)*100)
		}
		line := fmt.Sprintf("%4d  %s %5s", h.TTL, pad(clip(at, address), address), loss)
		if best, avg, worst, ok := spread(h.RTT); ok {
			line += fmt.Sprintf(" %s %s %s  %s", lead(short(best), 8), lead(short(avg), 8), lead(short(worst), 8), strings.Repeat("=", barLength(avg, n)))
		}
		if h.Unreachable != "" {
			line += "  " + clean(h.Unreachable)
		}
		b.WriteString(clip(line, s.width) + "\n")
		for _, a := range more {
			fmt.Fprintf(&b, "      %s\n", clip(clean(a), s.width-6))
		}
	}
	return b.String()
}

func spread(rtt []float64) (best, avg, worst float64, ok bool) {
	if len(rtt) == 0 {
		return 0, 0, 0, false
	}
	sum := 0.0
	for _, t := range rtt {
		sum += t
	}
	return slices.Min(rtt), sum / float64(len(rtt)), slices.Max(rtt), true
}

// end is the last line of a round: what all of it means.
func (s *screen) end(e *probe.RunEnd) string {
	state := map[string]string{"up": probe.RunUp, "degraded": probe.RunSlow, "unknown": probe.RunSilent}[e.State]
	head, words := clip(clean(e.State), timeColumns+gaps), clean(e.Words)
	text := wrap(head+strings.TrimPrefix(": "+words, ": "+head), s.width, "  ")
	return s.paint(cmp.Or(state, probe.RunDown), head) + strings.TrimPrefix(text, head)
}

// short is a time in seconds with three digits, at most seven columns.
func short(seconds float64) string {
	switch {
	case seconds < 0.9995e-3:
		return fmt.Sprintf("%.0f µs", seconds*1e6)
	case seconds < 0.9995:
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	case seconds < 999.5:
		return fmt.Sprintf("%.3g s", seconds)
	}
	return fmt.Sprintf("%.0f s", min(seconds, 99_999))
}

// clean takes from a text what is no character: what servers and other islands say is
// shown on a terminal, which obeys some.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '\uFFFD'
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

func clip(text string, n int) string {
	if utf8.RuneCountInString(text) <= n {
		return text
	}
	return string([]rune(text)[:max(0, n-1)]) + "…"
}

func pad(text string, n int) string {
	return text + strings.Repeat(" ", max(0, n-utf8.RuneCountInString(text)))
}

func lead(text string, n int) string {
	return strings.Repeat(" ", max(0, n-utf8.RuneCountInString(text))) + text
}

// wrap breaks a text between words into lines of at most n columns, each but the first
// with an indent.
func wrap(text string, n int, indent string) string {
	var b strings.Builder
	line := strings.TrimRight(text, " ")
	for utf8.RuneCountInString(line) > n {
		runes := []rune(line)
		at := n
		for i := n; i > len(indent)+1; i-- {
			if runes[i] == ' ' {
				at = i
				break
			}
		}
		b.WriteString(strings.TrimRight(string(runes[:at]), " ") + "\n")
		line = indent + strings.TrimLeft(string(runes[at:]), " ")
	}
	b.WriteString(line + "\n")
	return b.String()
}

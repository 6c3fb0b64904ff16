package demo

import (
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// screen prints lines and keeps one progress line below them on a terminal.
type screen struct {
	mu   sync.Mutex
	out  io.Writer
	tty  *os.File // nil when out is no terminal
	line string   // the progress line that stands there now
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out}
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		s.tty = f
	}
	return s
}

const clearLine = "\r\x1b[K"

// print writes a line above the progress line. A terminal that is gone is no
// reason to stop the island, so errors are left alone.
func (s *screen) print(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := fmt.Sprintf(format, args...) + "\n"
	if s.line != "" {
		text = clearLine + text + s.line
	}
	_, _ = io.WriteString(s.out, text)
}

// progress replaces the progress line; without a terminal it does nothing.
func (s *screen) progress(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tty == nil {
		return
	}
	if width, _, err := term.GetSize(int(s.tty.Fd())); err == nil {
		text = cut(text, width-1)
	}
	s.line = text
	_, _ = io.WriteString(s.out, clearLine+text)
}

// end removes the progress line.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.line != "" {
		s.line = ""
		_, _ = io.WriteString(s.out, clearLine)
	}
}

// cut shortens text to width characters, so that a narrow terminal does not wrap
// it and leave every refresh behind.
func cut(text string, width int) string {
	runes := []rune(text)
	if width < 1 || len(runes) <= width {
		return text
	}
	return string(runes[:width-1]) + "…"
}

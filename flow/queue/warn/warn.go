// Package warn lets several things share one health warning.
//
// In: what is wrong with each, by name. Out: the warning, holding while anything
// is wrong, with a text that names all of it. Guaranteed: safe for concurrent use.
package warn

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/atoll-mesh/atoll/health"
)

// Shared is one warning that several things may have at a time.
type Shared struct {
	mu     sync.Mutex
	handle *health.Handle
	texts  map[string]string
}

// Declare announces the warning on list; nil is a list that nobody reads.
func Declare(list *health.List, w health.Warning) *Shared {
	s := &Shared{texts: map[string]string{}}
	if list != nil {
		s.handle = list.Declare(w)
	}
	return s
}

// Set notes what is wrong with name, formatted as by fmt.Sprintf.
func (s *Shared) Set(name, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts[name] = name + ": " + fmt.Sprintf(format, args...)
	s.show()
}

// Clear notes that nothing is wrong with name.
func (s *Shared) Clear(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, on := s.texts[name]; on {
		delete(s.texts, name)
		s.show()
	}
}

func (s *Shared) show() {
	switch {
	case s.handle == nil:
	case len(s.texts) == 0:
		s.handle.Clear()
	default:
		all := make([]string, 0, len(s.texts))
		for _, text := range s.texts {
			all = append(all, text)
		}
		slices.Sort(all)
		s.handle.Set("%s", strings.Join(all, "; "))
	}
}

package global

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Scope says whose data a query is about.
type Scope uint8

const (
	// ScopeDefault is what Options.Default says.
	ScopeDefault Scope = iota
	// ScopeLocal is this island's data alone, without the partition label.
	ScopeLocal
	// ScopeAll is the data of all islands.
	ScopeAll
)

func (s Scope) String() string {
	switch s {
	case ScopeLocal:
		return "local"
	case ScopeAll:
		return "all"
	}
	return "default"
}

// Ask is how one query is to be answered. The zero value is the default.
type Ask struct {
	Scope Scope
	// Deny makes a missing island an error, ErrPartial.
	Deny bool
	// Deadline is how long each island has; 0 is Options.Deadline.
	Deadline time.Duration
	// Receipt, if not nil, is filled in before Exec returns.
	Receipt *Receipt
}

type askKey struct{}

// WithAsk returns a context whose queries are answered as a says. Engines read it
// when a query is made.
func WithAsk(ctx context.Context, a Ask) context.Context {
	return context.WithValue(ctx, askKey{}, a)
}

func askFrom(ctx context.Context) Ask {
	a, _ := ctx.Value(askKey{}).(Ask)
	return a
}

// State is what became of an island in a query.
type State string

const (
	// StateAnswered means: everything it has is in the answer.
	StateAnswered State = "answered"
	// StateSkipped means: it cannot have anything, so it was not asked.
	StateSkipped State = "skipped"
	// StateFailed means: it is missing in the answer.
	StateFailed State = "failed"
)

// Receipt is how an answer came about.
type Receipt struct {
	Scope   string          `json:"scope"`
	Islands []IslandReceipt `json:"islands,omitempty"`
	// Partial says that at least one island is missing.
	Partial bool `json:"partial"`
	// Pushed are the expressions that islands evaluated, Fetched the selectors
	// whose samples were fetched.
	Pushed  []string `json:"pushed,omitempty"`
	Fetched []string `json:"fetched,omitempty"`
	// Rest is what was left to evaluate here.
	Rest string `json:"rest,omitempty"`
	// Rounds is how many times islands were asked.
	Rounds int `json:"rounds"`
}

// IslandReceipt is one island's part in an answer. Of several rounds it holds the
// sums, and the worst state.
type IslandReceipt struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Why it was skipped or failed, or a copy answered for it.
	Why string `json:"why,omitempty"`
	// From is the island that answered for it out of a copy; empty if it did itself.
	From string `json:"from,omitempty"`
	// Oldest and Newest are the times of its oldest and newest sample in
	// milliseconds since 1970; 0 if unknown.
	Oldest  int64 `json:"oldest,omitempty"`
	Newest  int64 `json:"newest,omitempty"`
	Series  int64 `json:"series"`
	Samples int64 `json:"samples"`
	// Reused is how many of the samples were known from an answer before.
	Reused int64         `json:"reused,omitempty"`
	Bytes  int64         `json:"bytes"`
	Took   time.Duration `json:"took"`
}

// Receipted is a query that can say how its answer came about, after Exec.
type Receipted interface {
	Receipt() *Receipt
}

// missing are the names of the islands that failed.
func (r *Receipt) missing() []string {
	var names []string
	for _, i := range r.Islands {
		if i.State == StateFailed {
			names = append(names, i.Name)
		}
	}
	return names
}

// ErrPartial is returned where islands are missing and Ask.Deny does not allow it.
type ErrPartial struct{ Receipt *Receipt }

func (e ErrPartial) Error() string {
	var parts []string
	for _, i := range e.Receipt.Islands {
		if i.State == StateFailed {
			parts = append(parts, fmt.Sprintf("%q: %s", i.Name, i.Why))
		}
	}
	return "query: partial answers are denied and islands are missing: " + strings.Join(parts, "; ")
}

// MissingWarning is the annotation for an island that is missing in an answer.
type MissingWarning struct{ Island, Why string }

func (w MissingWarning) Error() string {
	return fmt.Sprintf("partial answer: island %q is missing: %s", w.Island, w.Why)
}

// AbsentWarning is the annotation of an answer of absent() without every island.
type AbsentWarning struct{ Islands []string }

func (w AbsentWarning) Error() string {
	return fmt.Sprintf("absent() was decided without islands %s, which may have what it did not find", strings.Join(w.Islands, ", "))
}

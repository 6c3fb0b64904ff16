package global

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Copy is an island's samples as another one keeps them.
type Copy struct {
	// Holder is the name of who keeps them.
	Holder string
	// Catalog answers under the origin's name.
	Catalog Catalog
	// Match are selectors of the series that are there; nil for all.
	Match [][]*labels.Matcher
}

// CopyWarning is the annotation for an island for which a copy answered.
type CopyWarning struct {
	Island, Holder, Why string
	// Newest is the time of the copy's newest sample in ms; 0 if unknown.
	Newest int64
}

func (w CopyWarning) Error() string {
	newest := "of unknown age"
	if w.Newest > 0 {
		newest = "whose newest sample is of " + time.UnixMilli(w.Newest).UTC().Format(time.RFC3339)
	}
	return fmt.Sprintf("island %q did not answer: %s; island %q answered for it from a copy %s", w.Island, w.Why, w.Holder, newest)
}

// WithCopies has copies answer for an island that does not: the first, in their
// order, that has all series which a question is about, and answers. An origin
// that is slow is waited for as long as there is time.
func WithCopies(origin Catalog, copies []Copy) Catalog {
	if len(copies) == 0 {
		return origin
	}
	return &backed{Catalog: origin, copies: copies}
}

// Departed is an island of which there are only copies: it never answers itself.
func Departed(f Facts, why string) Catalog { return departed{f, errors.New(why)} }

type backed struct {
	Catalog
	copies []Copy
}

// Answer implements Island.
func (b *backed) Answer(ctx context.Context, r *Request) (*Answer, error) {
	var able []Copy
	for _, c := range b.copies {
		if !r.Original && c.answers(r) {
			able = append(able, c)
		}
	}
	a, by, why, err := instead(ctx, b.Catalog, able, func(ctx context.Context, c Catalog) (*Answer, error) { return c.Answer(ctx, r) })
	if err == nil && by != "" {
		a.From, a.Why, a.Epoch, a.Settled = by, why.Error(), 0, 0
	}
	return a, err
}

// Labels implements Catalog.
func (b *backed) Labels(ctx context.Context, r *LabelsRequest) ([]string, []Note, error) {
	return enumerate(ctx, b, [][]*labels.Matcher{r.Matchers}, func(ctx context.Context, c Catalog) ([]string, []Note, error) { return c.Labels(ctx, r) })
}

// Series implements Catalog.
func (b *backed) Series(ctx context.Context, r *SeriesRequest) ([]labels.Labels, []Note, error) {
	return enumerate(ctx, b, [][]*labels.Matcher{r.Matchers}, func(ctx context.Context, c Catalog) ([]labels.Labels, []Note, error) { return c.Series(ctx, r) })
}

// listing is what an island lists.
type listing[T any] struct {
	value T
	notes []Note
}

func enumerate[T any](ctx context.Context, b *backed, asked [][]*labels.Matcher, do func(context.Context, Catalog) (T, []Note, error)) (T, []Note, error) {
	var able []Copy
	for _, c := range b.copies {
		if !askFrom(ctx).Deny && c.has(asked) {
			able = append(able, c)
		}
	}
	got, by, why, err := instead(ctx, b.Catalog, able, func(ctx context.Context, c Catalog) (l listing[T], err error) {
		l.value, l.notes, err = do(ctx, c)
		return l, err
	})
	if err == nil && by != "" {
		w := CopyWarning{Island: b.Facts().Name, Holder: by, Why: why.Error()}
		got.notes = append(got.notes, Note{Text: w.Error()})
	}
	return got.value, got.notes, err
}

// answers reports whether the copy has all series that a request reads.
func (c *Copy) answers(r *Request) bool {
	if c.Match == nil {
		return true
	}
	var asked [][]*labels.Matcher
	for i := range r.Raw {
		asked = append(asked, r.Raw[i].Matchers)
	}
	p := parser.NewParser(parser.Options{EnableExperimentalFunctions: true, EnableBinopFillModifiers: true, EnableUnquotedUTF8Names: true})
	for i := range r.Leaves {
		expr, err := p.ParseExpr(r.Leaves[i].Expr)
		if err != nil {
			return false
		}
		asked = append(asked, parser.ExtractSelectors(expr)...)
	}
	return c.has(asked)
}

// has reports whether each selector certainly takes series of the copy only: it
// has every matcher of one of the copy's, or asks for a value that this matches.
func (c *Copy) has(asked [][]*labels.Matcher) bool {
	for _, q := range asked {
		covered := c.Match == nil
		for _, own := range c.Match {
			covered = covered || narrows(q, own)
		}
		if !covered {
			return false
		}
	}
	return true
}

func narrows(q, own []*labels.Matcher) bool {
	for _, m := range own {
		found := false
		for _, a := range q {
			same := a.Type == m.Type && a.Value == m.Value
			found = found || a.Name == m.Name && (same || a.Type == labels.MatchEqual && m.Matches(a.Value))
		}
		if !found {
			return false
		}
	}
	return true
}

// said is an answer, and whose it is: "" of the origin.
type said[T any] struct {
	value T
	by    string
	err   error
}

// instead asks the origin, and copies in turn once it has failed or half of the
// time is over. An answer of the origin is taken until nine tenths are.
func instead[T any](ctx context.Context, origin Catalog, copies []Copy, ask func(context.Context, Catalog) (T, error)) (v T, by string, why, err error) {
	if len(copies) == 0 {
		v, err = ask(ctx, origin)
		return v, "", nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own, other := make(chan said[T], 1), make(chan said[T], 1)
	go func() {
		v, err := protected(ctx, origin, ask)
		own <- said[T]{v, "", err}
	}()
	left := time.Minute
	if deadline, ok := ctx.Deadline(); ok {
		left = time.Until(deadline)
	}
	half, late := time.NewTimer(left/2), time.NewTimer(left*9/10)
	defer half.Stop()
	defer late.Stop()
	asking := false
	begin := func() {
		if !asking {
			asking = true
			go func() { other <- inTurn(ctx, copies, ask) }()
		}
	}
	why = errors.New("it is slow")
	var second *said[T]
	for failed, over := false, false; ; {
		select {
		case one := <-own:
			var f *Fault
			if one.err == nil || errors.As(one.err, &f) && (f.Kind == FaultQuery || f.Kind == FaultLimit) {
				return one.value, "", nil, one.err
			}
			failed, why, own = true, one.err, nil
			begin()
		case one := <-other:
			second, other = &one, nil
		case <-half.C:
			begin()
		case <-late.C:
			over = true
		case <-ctx.Done():
			return v, "", nil, ctx.Err()
		}
		if second == nil || !failed && (!over || second.err != nil) {
			continue
		}
		if second.err != nil {
			return v, "", nil, errors.Join(why, second.err)
		}
		return second.value, second.by, why, nil
	}
}

// inTurn asks copies until one answers.
func inTurn[T any](ctx context.Context, copies []Copy, ask func(context.Context, Catalog) (T, error)) said[T] {
	var errs []error
	for n, c := range copies {
		within, cancel := ctx, context.CancelFunc(func() {})
		if deadline, ok := ctx.Deadline(); ok { // an equal part for those that are left
			within, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(len(copies)-n))
		}
		v, err := protected(within, c.Catalog, ask)
		cancel()
		if err == nil {
			return said[T]{value: v, by: c.Holder}
		}
		if ctx.Err() != nil {
			return said[T]{err: ctx.Err()}
		}
		errs = append(errs, fmt.Errorf("its copy at %s: %w", c.Holder, err))
	}
	return said[T]{err: errors.Join(errs...)}
}

// protected turns a panic of a decoder of foreign bytes into an error.
func protected[T any](ctx context.Context, c Catalog, ask func(context.Context, Catalog) (T, error)) (v T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("asking panicked: %v", p)
		}
	}()
	return ask(ctx, c)
}

type departed struct {
	facts Facts
	err   error
}

func (d departed) Facts() Facts                                      { return d.facts }
func (d departed) Answer(context.Context, *Request) (*Answer, error) { return nil, d.err }
func (d departed) Labels(context.Context, *LabelsRequest) ([]string, []Note, error) {
	return nil, nil, d.err
}

func (d departed) Series(context.Context, *SeriesRequest) ([]labels.Labels, []Note, error) {
	return nil, nil, d.err
}

// Exemplars lists none: copies have none either.
func (d departed) Exemplars(context.Context, *ExemplarsRequest) ([]exemplar.QueryResult, error) {
	return nil, nil
}

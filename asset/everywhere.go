package asset

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
)

// Other is another island that may be asked.
type Other struct {
	Name string
	Ask  func(ctx context.Context, r Request) (Answer, error)
}

// Request is what one island asks of another.
type Request struct {
	// Text is as typed.
	Text  string
	Kinds []Kind
	Limit int
}

const (
	// otherTimeout is how long another island is waited for: somebody is typing.
	otherTimeout = 300 * time.Millisecond
	// mostOthers bounds the islands asked at the same time, of all searches together.
	mostOthers = 64
)

// Everywhere searches here and on all other islands. Those that do not answer in time
// are named.
func (v *Inventory) Everywhere(ctx context.Context, r Request) (Answer, error) {
	q, err := Parse(r.Text)
	if err != nil {
		return Answer{}, err
	}
	begin := time.Now()
	var others []Other
	if v.o.Others != nil {
		others = v.o.Others()
	}
	answers, errs := make([]Answer, len(others)), make([]error, len(others))
	ctx, cancel := context.WithTimeout(ctx, otherTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for i, o := range others {
		asked.Go(func() {
			if errs[i] = v.enter(ctx); errs[i] != nil {
				return
			}
			defer v.leave()
			answers[i], errs[i] = o.Ask(ctx, r)
		})
	}
	all := v.Search(q.Only(r.Kinds...), r.Limit)
	asked.Wait()
	for i, o := range others {
		if errs[i] != nil {
			v.metrics.asked.WithLabelValues(resultFailed).Inc()
			all.Islands = append(all.Islands, Asked{Name: o.Name, Error: errs[i].Error()})
			continue
		}
		v.metrics.asked.WithLabelValues(resultOK).Inc()
		all.Islands = append(all.Islands, Asked{Name: o.Name, Answered: true})
		all.merge(o.Name, answers[i])
	}
	slices.SortStableFunc(all.Items, func(a, b Found) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	})
	all.Items = all.Items[:min(len(all.Items), r.Limit)]
	all.TookMs = milliseconds(time.Since(begin))
	return all, nil
}

func (v *Inventory) enter(ctx context.Context) error {
	select {
	case v.asking <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *Inventory) leave() { <-v.asking }

// merge takes in what another island found. What both know is one: this island's
// word of it stands.
func (a *Answer) merge(island string, b Answer) {
	for _, f := range b.Items {
		i := slices.IndexFunc(a.Items, func(have Found) bool { return have.ID == f.ID && have.Kind == f.Kind })
		if i < 0 {
			f.Island, f.Islands = island, nil
			a.Items = append(a.Items, f)
			continue
		}
		have := &a.Items[i]
		if have.Islands == nil {
			have.Islands = []string{have.Island}
		}
		have.Islands = append(have.Islands, island)
		have.score = max(have.score, f.score)
	}
	for name, n := range b.Counts {
		if k, ok := KindOf(name); ok && k.common() {
			a.Counts[name] = max(a.Counts[name], n) // they are mostly the same ones
			continue
		}
		a.Counts[name] += n
	}
}

// common reports whether islands mostly know the same resources of a kind.
func (k Kind) common() bool {
	return k == KindIsland || k == KindDocument || k == KindDashboard || k == KindMetric || k == KindProbe
}

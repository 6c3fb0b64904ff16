package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"

	"github.com/atoll-mesh/atoll/query/global"
	"github.com/atoll-mesh/atoll/wire/querypb"
)

const (
	// partSeries is how many series go into one message.
	partSeries = 1000
	// mostListed bounds the series, and the label values, of one island.
	mostListed = 1 << 20
	// mostLabels bounds the labels of a series.
	mostLabels = 512
)

var _ global.Catalog = (*Client)(nil)

func (c *Client) client() (querypb.QueryClient, error) {
	conn, err := c.connect()
	if err != nil {
		return nil, err
	}
	return querypb.NewQueryClient(conn), nil
}

// Labels implements global.Catalog.
func (c *Client) Labels(ctx context.Context, r *global.LabelsRequest) ([]string, []global.Note, error) {
	q, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	res, err := q.Labels(ctx, &querypb.LabelsRequest{
		Name: r.Name, Matchers: matcherMessages(r.Matchers), MinTime: r.MinTime, MaxTime: r.MaxTime, Limit: int64(r.Limit), CopyOf: c.copyOf,
	})
	return res.GetValues(), notes(res.GetNotes()), err
}

// Series implements global.Catalog.
func (c *Client) Series(ctx context.Context, r *global.SeriesRequest) (all []labels.Labels, said []global.Note, err error) {
	q, err := c.client()
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := q.Series(ctx, &querypb.SeriesRequest{
		Selector: &querypb.Selector{Matchers: matcherMessages(r.Matchers), MinTime: r.MinTime, MaxTime: r.MaxTime}, Limit: int64(r.Limit), CopyOf: c.copyOf,
	})
	if err != nil {
		return nil, nil, err
	}
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, said, nil
		}
		if err != nil {
			return nil, nil, err
		}
		if len(all)+len(part.GetSeries()) > mostListed || len(said) > mostNotes {
			return nil, nil, fmt.Errorf("island %q lists more than %d series: select fewer", c.facts.Name, mostListed)
		}
		for _, s := range part.GetSeries() {
			ls, err := labelSet(s.GetLabels())
			if err != nil {
				return nil, nil, fmt.Errorf("read the series of island %q: %w", c.facts.Name, err)
			}
			all = append(all, ls)
		}
		said = append(said, notes(part.GetNotes())...)
	}
}

// Exemplars implements global.Catalog.
func (c *Client) Exemplars(ctx context.Context, r *global.ExemplarsRequest) ([]exemplar.QueryResult, error) {
	if c.copyOf != "" {
		return nil, nil // copies have none
	}
	q, err := c.client()
	if err != nil {
		return nil, err
	}
	m := &querypb.ExemplarsRequest{}
	for _, ms := range r.Selectors {
		m.Selectors = append(m.Selectors, &querypb.Selector{Matchers: matcherMessages(ms), MinTime: r.MinTime, MaxTime: r.MaxTime})
	}
	res, err := q.Exemplars(ctx, m)
	if err != nil {
		return nil, err
	}
	var all []exemplar.QueryResult
	for _, s := range res.GetSeries() {
		ls, err := labelSet(s.GetLabels())
		if err != nil {
			return nil, fmt.Errorf("read the exemplars of island %q: %w", c.facts.Name, err)
		}
		one := exemplar.QueryResult{SeriesLabels: ls}
		for _, e := range s.GetExemplars() {
			els, err := labelSet(e.GetLabels())
			if err != nil {
				return nil, fmt.Errorf("read the exemplars of island %q: %w", c.facts.Name, err)
			}
			one.Exemplars = append(one.Exemplars, exemplar.Exemplar{Labels: els, Value: e.GetValue(), Ts: e.GetTime(), HasTs: e.GetHasTime()})
		}
		all = append(all, one)
	}
	return all, nil
}

func labelMessages(ls labels.Labels) []*querypb.Label {
	out := make([]*querypb.Label, 0, ls.Len())
	ls.Range(func(l labels.Label) { out = append(out, &querypb.Label{Name: l.Name, Value: l.Value}) })
	return out
}

// labelSet reads labels, which must be in order, each once and none empty.
func labelSet(list []*querypb.Label) (labels.Labels, error) {
	if len(list) > mostLabels {
		return labels.EmptyLabels(), fmt.Errorf("%d labels: at most %d", len(list), mostLabels)
	}
	b := labels.NewScratchBuilder(len(list))
	last := ""
	for _, l := range list {
		if l.GetName() <= last || l.GetValue() == "" {
			return labels.EmptyLabels(), fmt.Errorf("label %q after %q with value %q: must be in order and not empty", l.GetName(), last, l.GetValue())
		}
		last = l.GetName()
		b.Add(strings.Clone(l.GetName()), l.GetValue())
	}
	return b.Labels(), nil
}

// Labels implements querypb.QueryServer.
func (s *Server) Labels(ctx context.Context, m *querypb.LabelsRequest) (*querypb.LabelsResponse, error) {
	ms, err := matchers(m.GetMatchers())
	if err != nil {
		return nil, invalid(err)
	}
	answerer, err := s.of(m.GetCopyOf())
	if err != nil {
		return nil, err
	}
	values, said, err := answerer.Labels(ctx, &global.LabelsRequest{
		Name: m.GetName(), Matchers: ms, MinTime: m.GetMinTime(), MaxTime: m.GetMaxTime(), Limit: limit(m.GetLimit()),
	})
	return &querypb.LabelsResponse{Values: values, Notes: noteMessages(said)}, err
}

func limit(n int64) int {
	if n <= 0 || n > mostListed {
		return mostListed
	}
	return int(n)
}

// Exemplars implements querypb.QueryServer.
func (s *Server) Exemplars(ctx context.Context, m *querypb.ExemplarsRequest) (*querypb.ExemplarsResponse, error) {
	r := &global.ExemplarsRequest{}
	if len(m.GetSelectors()) == 0 || len(m.GetSelectors()) > mostParts {
		return nil, invalid(fmt.Errorf("%d selectors: must be 1 to %d", len(m.GetSelectors()), mostParts))
	}
	for _, sel := range m.GetSelectors() {
		ms, err := matchers(sel.GetMatchers())
		if err != nil {
			return nil, invalid(err)
		}
		r.Selectors = append(r.Selectors, ms)
		r.MinTime, r.MaxTime = sel.GetMinTime(), sel.GetMaxTime() // the same in all
	}
	found, err := s.answerer.Exemplars(ctx, r)
	if err != nil {
		return nil, err
	}
	res := &querypb.ExemplarsResponse{}
	for _, f := range found {
		one := &querypb.SeriesExemplars{Labels: labelMessages(f.SeriesLabels)}
		for _, e := range f.Exemplars {
			one.Exemplars = append(one.Exemplars, &querypb.Exemplar{Labels: labelMessages(e.Labels), Value: e.Value, Time: e.Ts, HasTime: e.HasTs})
		}
		res.Series = append(res.Series, one)
	}
	return res, nil
}

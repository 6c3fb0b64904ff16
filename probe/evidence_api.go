package probe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/atoll-mesh/atoll/probe/evidence"
)

// EvidencePath lists bundles of evidence; below it are failures, their vantages, and
// the files of each.
const EvidencePath = "/api/v1/probes/evidence"

// query selects bundles; what is "" selects all.
type query struct {
	failure, definition, instance string
	limit                         int
}

const (
	defaultBundles = 100
	mostBundles    = 1000
)

func (q query) match(m *evidence.Manifest) bool {
	return (q.failure == "" || q.failure == m.Failure) && (q.definition == "" || q.definition == m.Definition) && (q.instance == "" || q.instance == m.Target)
}

// list is what this island keeps, the newest first.
func (k *keeper) list(q query) []*evidence.Manifest {
	if k.store == nil {
		return nil
	}
	if q.limit <= 0 || q.limit > mostBundles {
		q.limit = defaultBundles
	}
	if q.failure == "" {
		return k.store.List(q.limit, q.match)
	}
	m, err := k.store.Manifest(q.failure)
	if err != nil || !q.match(m) {
		return nil
	}
	return []*evidence.Manifest{m}
}

// Bundle is evidence that an island keeps.
type Bundle struct {
	// Island is who keeps it: the vantage, under the name that it has now.
	Island string `json:"island"`
	*evidence.Manifest
}

// Silent is an island that did not answer, and why.
type Silent struct {
	Island string `json:"island"`
	Error  string `json:"error"`
}

// Bundles are those of all islands, the newest first.
type Bundles struct {
	Bundles    []Bundle `json:"bundles"`
	Unanswered []Silent `json:"unanswered"`
}

// everywhere lists what this island and all others keep.
func (k *keeper) everywhere(ctx context.Context, q query) Bundles {
	self := k.p.self().Name
	var islands []string
	if k.p.opts.Evidence != nil && k.p.opts.Members != nil {
		for _, m := range k.p.opts.Members() {
			if m.Name != self {
				islands = append(islands, m.Name)
			}
		}
	}
	out := k.from(ctx, islands, q)
	for _, m := range k.list(q) {
		out.Bundles = append(out.Bundles, Bundle{self, m})
	}
	out.order(q.limit)
	return out
}

// from asks islands what they keep.
func (k *keeper) from(ctx context.Context, islands []string, q query) Bundles {
	out := Bundles{Bundles: []Bundle{}, Unanswered: []Silent{}}
	var mu sync.Mutex
	var asking sync.WaitGroup
	slots := make(chan struct{}, mostFinds)
	for _, name := range islands {
		asking.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			found, err := k.findAt(ctx, name, q)
			mu.Lock()
			defer mu.Unlock()
			for _, m := range found {
				out.Bundles = append(out.Bundles, Bundle{name, m})
			}
			if err != nil {
				out.Unanswered = append(out.Unanswered, Silent{name, status.Convert(err).Message()})
			}
		})
	}
	asking.Wait()
	return out
}

func (b *Bundles) order(limit int) {
	slices.SortFunc(b.Bundles, func(a, b Bundle) int {
		return cmp.Or(cmp.Compare(b.Failure, a.Failure), cmp.Compare(a.Role, b.Role), cmp.Compare(a.Island, b.Island))
	})
	slices.SortFunc(b.Unanswered, func(a, b Silent) int { return cmp.Compare(a.Island, b.Island) })
	if limit > 0 && len(b.Bundles) > limit {
		b.Bundles = b.Bundles[:limit]
	}
}

// serveEvidence answers ?definition=&instance=&failure=&limit=, all optional.
func (p *Prober) serveEvidence(w http.ResponseWriter, r *http.Request) {
	form := r.URL.Query()
	q := query{failure: form.Get("failure"), definition: form.Get("definition"), instance: form.Get("instance"), limit: defaultBundles}
	if text := form.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > mostBundles {
			reply(w, http.StatusBadRequest, envelope{Status: "error", Error: fmt.Sprintf("limit=%.40q: must be from 1 to %d", text, mostBundles)})
			return
		}
		q.limit = n
	}
	if q.failure != "" {
		if _, err := evidence.ReadID(q.failure); err != nil {
			reply(w, http.StatusBadRequest, envelope{Status: "error", Error: err.Error()})
			return
		}
	}
	reply(w, http.StatusOK, envelope{Status: "success", Data: p.keeper.everywhere(r.Context(), q)})
}

// serveFailure answers with all bundles of one failure, and with the healthy vantage's
// that stands for it where that one had looked a moment before.
func (p *Prober) serveFailure(w http.ResponseWriter, r *http.Request) {
	failure := r.PathValue("failure")
	if _, err := evidence.ReadID(failure); err != nil {
		reply(w, http.StatusBadRequest, envelope{Status: "error", Error: err.Error()})
		return
	}
	k := p.keeper
	all := k.everywhere(r.Context(), query{failure: failure})
	for _, b := range all.Bundles {
		c := b.Counterpart
		if c == nil || c.Failure == failure {
			continue
		}
		if c.Vantage == p.self().Name {
			for _, m := range k.list(query{failure: c.Failure}) {
				all.Bundles = append(all.Bundles, Bundle{c.Vantage, m})
			}
			continue
		}
		if k.p.opts.Evidence == nil {
			continue
		}
		more := k.from(r.Context(), []string{c.Vantage}, query{failure: c.Failure})
		all.Bundles = append(all.Bundles, more.Bundles...)
	}
	all.order(0)
	if len(all.Bundles) == 0 {
		words := "there is no evidence of failure " + failure
		for _, s := range all.Unanswered {
			words += "; " + s.Island + " did not answer: " + s.Error
		}
		reply(w, http.StatusNotFound, envelope{Status: "error", Error: words})
		return
	}
	reply(w, http.StatusOK, envelope{Status: "success", Data: all})
}

// content is an archive, wherever it is kept.
func (k *keeper) content(ctx context.Context, island, failure string) ([]byte, error) {
	if _, err := evidence.ReadID(failure); err != nil {
		return nil, fmt.Errorf("%w: %w", evidence.ErrGone, err)
	}
	if island == k.p.self().Name {
		if k.store == nil {
			return nil, evidence.ErrGone
		}
		f, _, err := k.store.Archive(failure)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return io.ReadAll(io.LimitReader(f, evidence.MostArchive))
	}
	if k.p.opts.Evidence == nil {
		return nil, fmt.Errorf("%.100q: this island is in no network", island)
	}
	select { // archives are held in memory
	case k.fetches <- struct{}{}:
		defer func() { <-k.fetches }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return k.fetch(ctx, island, failure)
}

// serveArchive answers with a whole bundle.
func (p *Prober) serveArchive(w http.ResponseWriter, r *http.Request) {
	island, failure := r.PathValue("vantage"), r.PathValue("failure")
	content, err := p.keeper.content(r.Context(), island, failure)
	if err != nil {
		refuseEvidence(w, err)
		return
	}
	download(w, "evidence-"+failure+"-"+island+".zip", content)
}

// serveFile answers with one file of a bundle.
func (p *Prober) serveFile(w http.ResponseWriter, r *http.Request) {
	content, err := p.keeper.content(r.Context(), r.PathValue("vantage"), r.PathValue("failure"))
	if err == nil {
		content, err = evidence.Open(bytes.NewReader(content), int64(len(content)), r.PathValue("file"), evidence.MostArchive)
	}
	if err != nil {
		refuseEvidence(w, err)
		return
	}
	download(w, r.PathValue("file"), content)
}

// download sends what a target's server may have written: no browser is to run it.
func download(w http.ResponseWriter, name string, content []byte) {
	h := w.Header()
	h.Set("Content-Type", evidence.MediaType(name))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'")
	h.Set("Content-Disposition", "attachment; filename="+strconv.QuoteToASCII(strings.Map(plain, name)))
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(content)))
	_, _ = w.Write(content) // the client went away
}

func plain(r rune) rune {
	if r < ' ' || r == '"' || r == '\\' || r > '~' {
		return '_'
	}
	return r
}

func refuseEvidence(w http.ResponseWriter, err error) {
	code := http.StatusBadGateway
	switch {
	case errors.Is(err, evidence.ErrGone), status.Code(err) == codes.NotFound:
		code = http.StatusNotFound
	}
	reply(w, code, envelope{Status: "error", Error: status.Convert(err).Message()})
}

package probe

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/probe/definition"
)

// RunPath has vantages probe at once.
const RunPath = "/api/v1/probes/run"

// serveRun answers ?target=&module=&from=&spread=&per=&hostname=&record=&timeout= with a
// line of JSON for each RunEvent as it comes.
func (p *Prober) serveRun(w http.ResponseWriter, r *http.Request) {
	if site := r.Header.Get("Sec-Fetch-Site"); site == "cross-site" || site == "same-site" {
		reply(w, http.StatusForbidden, envelope{Status: "error", Error: "another site's page sent this request"})
		return
	}
	a, err := readAsk(r)
	if err != nil {
		reply(w, http.StatusBadRequest, envelope{Status: "error", Error: err.Error()})
		return
	}
	out := http.NewResponseController(w)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	err = p.Ask(r.Context(), a, func(e RunEvent) {
		if e.Plan != nil {
			w.Header().Set("Content-Type", "application/x-ndjson")
			w.Header().Set("Cache-Control", "no-store")
			w.Header().Set("X-Accel-Buffering", "no") // nginx would keep lines back
		}
		_ = enc.Encode(e) // the client went away, and the run ends with it
		_ = out.Flush()
	})
	var refusal *Refusal
	if errors.As(err, &refusal) {
		reply(w, refusal.Status, envelope{Status: "error", Error: refusal.Error()})
	}
}

func readAsk(r *http.Request) (Ask, error) {
	a := Ask{
		Target: r.FormValue("target"), Module: r.FormValue("module"), Host: r.FormValue("hostname"), Record: r.FormValue("record"), Caller: caller(r),
	}
	var err error
	if text := r.FormValue("timeout"); text != "" {
		if a.Timeout, err = time.ParseDuration(text); err != nil {
			return a, fmt.Errorf("timeout=%.40q: must be like 5s", text)
		}
	}
	spread := 0
	if text := r.FormValue("spread"); text != "" {
		if spread, err = strconv.Atoi(text); err != nil || spread < 1 {
			return a, fmt.Errorf("spread=%.40q: must be a number, 1 or more", text)
		}
	}
	a.From, err = ParseFrom(r.FormValue("from"), spread, r.FormValue("per"))
	return a, err
}

// ParseFrom reads who is to probe, as people type it: all, this, names of islands
// (berlin,tokyo), labels (region=eu,isp=acme), or a selector as in a definition.
func ParseFrom(text string, spread int, per string) (definition.From, error) {
	f := definition.From{}
	text = strings.TrimSpace(text)
	if text != "" && text != "all" && text != "this" && !strings.ContainsAny(text, `{}"~!`) {
		text = plainSelector(text)
	}
	long := map[string]any{"islands": text}
	if spread > 0 {
		long["spread"] = spread
	}
	if per != "" {
		long["per"] = per
	}
	written, err := yaml.Marshal(long)
	if err == nil {
		err = yaml.Unmarshal(written, &f)
	}
	if err != nil {
		return f, fmt.Errorf("from: %w", err)
	}
	return f, nil
}

// plainSelector makes a selector of names, or of labels and values without quotes.
func plainSelector(text string) string {
	var islands, matchers []string
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		switch label, value, ok := strings.Cut(part, "="); {
		case part == "":
		case ok:
			matchers = append(matchers, strings.TrimSpace(label)+"="+strconv.Quote(strings.TrimSpace(value)))
		default:
			islands = append(islands, regexp.QuoteMeta(part))
		}
	}
	if len(islands) > 0 {
		matchers = append(matchers, "island=~"+strconv.Quote(strings.Join(islands, "|")))
	}
	if len(matchers) == 0 {
		return text // which is none, and said to be
	}
	return "{" + strings.Join(matchers, ",") + "}"
}

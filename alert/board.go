package alert

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/alert/history"
	"github.com/atoll-mesh/atoll/alert/preview"
)

// BoardOptions are what the handler of Board needs besides the room.
type BoardOptions struct {
	// Check judges the text of a document of a kind that holds rules.
	Check func(kind string, text []byte) Problems
	// Who is the name of whoever asks; "" if that is not known. nil is never known.
	Who func(context.Context) string
}

// Paths of the board.
const (
	BoardPath   = "/api/atoll/v1/alerts"
	PreviewPath = "/api/atoll/v1/rules/preview"
	CheckPath   = "/api/atoll/v1/rules/check"

	// AcknowledgePath takes a group or a fingerprint.
	AcknowledgePath = BoardPath + "/{target}/acknowledge"
)

// maxRules bounds the text of rules, as that of a document.
const maxRules = 1 << 20

type board struct {
	a *Alert
	o BoardOptions
	// previews bounds how many run at once: each reads a week.
	previews chan struct{}
}

// Board serves what people look at and decide: alerts by what is wrong, their
// history, acknowledging, and rules before they are saved.
func (a *Alert) Board(o BoardOptions) http.Handler {
	b := &board{a: a, o: o, previews: make(chan struct{}, 2)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+BoardPath, b.answering(b.current))
	mux.HandleFunc("GET "+BoardPath+"/history", b.answering(b.history))
	mux.HandleFunc("GET "+BoardPath+"/timeline", b.answering(b.timeline))
	mux.HandleFunc("GET "+BoardPath+"/statistics", b.answering(b.statistics))
	mux.HandleFunc("POST "+AcknowledgePath, b.answering(b.acknowledge))
	mux.HandleFunc("DELETE "+AcknowledgePath, b.answering(b.unacknowledge))
	mux.HandleFunc("POST "+PreviewPath, b.answering(b.preview))
	mux.HandleFunc("POST "+CheckPath, b.answering(b.check))
	return mux
}

// apiError is what is answered instead.
type apiError struct {
	Status  int    `json:"-"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
	Remedy  string `json:"remedy,omitempty"`
}

// Error implements error.
func (e *apiError) Error() string { return e.Message }

func invalid(field, format string, args ...any) error {
	return &apiError{Status: http.StatusBadRequest, Code: "invalid", Field: field, Message: fmt.Sprintf(format, args...)}
}

func (b *board) answering(h func(*http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if b.a.embedded.handler.Load() == nil {
			w.Header().Set("Retry-After", "1")
			answer(w, http.StatusServiceUnavailable, &apiError{Code: "starting", Message: "alerting is starting", Remedy: "try again in a moment"})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, 2*maxRules)
		v, err := h(r)
		if err == nil {
			answer(w, http.StatusOK, v)
			return
		}
		var e *apiError
		var tooLarge *http.MaxBytesError
		switch {
		case errors.As(err, &e):
		case errors.As(err, &tooLarge):
			e = &apiError{Status: http.StatusRequestEntityTooLarge, Code: "too_large", Message: fmt.Sprintf("the request has more than %d bytes", tooLarge.Limit)}
		case errors.Is(err, history.ErrUnkept):
			e = &apiError{Status: http.StatusServiceUnavailable, Code: "no_history", Message: err.Error(), Remedy: "see the warning alert-history-failing"}
		case errors.Is(err, history.ErrCursor):
			e = &apiError{Status: http.StatusBadRequest, Code: "invalid", Field: "cursor", Message: err.Error(), Remedy: "begin without one"}
		default:
			e = &apiError{Status: http.StatusInternalServerError, Code: "internal", Message: err.Error()}
		}
		answer(w, e.Status, e)
	}
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}

func decode(r *http.Request, into any) error {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	err := d.Decode(into)
	var tooLarge *http.MaxBytesError
	switch {
	case err == nil && d.More():
		return invalid("", "the body holds more than one JSON value")
	case err == nil, errors.As(err, &tooLarge):
		return err
	case errors.Is(err, io.EOF):
		return nil // nothing said is nothing asked for
	}
	return invalid("", "the body cannot be read as JSON: %v", err)
}

// Board is GET BoardPath's answer.
type Board struct {
	Items []Group `json:"items"`
	// Total counts the alerts in all groups, those left out included.
	Total         int `json:"total"`
	GroupsLeftOut int `json:"groups_left_out,omitempty"`
}

func (b *board) current(*http.Request) (any, error) {
	now := time.Now()
	groups, leftOut := b.a.embedded.groupsNow(now)
	return Board{Items: groups, Total: len(b.a.embedded.firing(now)), GroupsLeftOut: leftOut}, nil
}

// span reads from and to; without them it ends now and is usual long.
func span(r *http.Request, usual time.Duration) (from, to time.Time, err error) {
	to = time.Now()
	if to, err = moment(r, "to", to); err != nil {
		return from, to, err
	}
	if from, err = moment(r, "from", to.Add(-usual)); err != nil {
		return from, to, err
	}
	if err := history.Check(from, to); err != nil {
		return from, to, invalid("to", "%v", err)
	}
	return from, to, nil
}

// moment reads RFC 3339 or seconds since 1970.
func moment(r *http.Request, field string, otherwise time.Time) (time.Time, error) {
	text := r.URL.Query().Get(field)
	if text == "" {
		return otherwise, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	if s, err := strconv.ParseFloat(text, 64); err == nil && s > 0 && s < 1<<33 {
		return time.UnixMilli(int64(s * 1000)), nil
	}
	return otherwise, invalid(field, "%s is %.60q: must be a time such as %s, or seconds since 1970", field, text, otherwise.UTC().Format(time.RFC3339))
}

func (b *board) history(r *http.Request) (any, error) {
	from, to, err := span(r, 7*24*time.Hour)
	if err != nil {
		return nil, err
	}
	q := r.URL.Query()
	ask := history.Ask{
		From: from, To: to, Alertname: q.Get("alertname"), Fingerprint: q.Get("fingerprint"), Text: q.Get("q"), Cursor: q.Get("cursor"), Limit: 100,
	}
	if text := q.Get("limit"); text != "" {
		if ask.Limit, err = strconv.Atoi(text); err != nil || ask.Limit < 1 || ask.Limit > history.MaxLimit {
			return nil, invalid("limit", "limit is %.60q: must be a number from 1 to %d", text, history.MaxLimit)
		}
	}
	for _, kind := range q["kind"] {
		ask.Kinds = append(ask.Kinds, history.Kind(kind))
	}
	return b.a.embedded.history.Query(ask)
}

func (b *board) timeline(r *http.Request) (any, error) {
	from, to, err := span(r, 24*time.Hour)
	if err != nil {
		return nil, err
	}
	return b.a.embedded.history.Timeline(from, to)
}

func (b *board) statistics(r *http.Request) (any, error) {
	from, to, err := span(r, 7*24*time.Hour)
	if err != nil {
		return nil, err
	}
	return b.a.embedded.history.Statistics(from, to)
}

// Acknowledged is POST AcknowledgePath's answer, and DELETE's with what it ended.
type Acknowledged struct {
	Alerts int       `json:"alerts"`
	By     string    `json:"by,omitempty"`
	Until  time.Time `json:"until,omitzero"`
}

func (b *board) acknowledge(r *http.Request) (any, error) {
	var ack Ack
	if err := decode(r, &ack); err != nil {
		return nil, err
	}
	if b.o.Who != nil {
		if name := b.o.Who(r.Context()); name != "" {
			ack.By = name // whoever signed in speaks for nobody else
		}
	}
	now := time.Now()
	ack, err := ack.complete(now)
	if err != nil {
		return nil, err
	}
	e := b.a.embedded
	alerts := e.target(r.PathValue("target"), now)
	if len(alerts) == 0 {
		return nil, notFiring(r)
	}
	if err := e.acknowledge(alerts, ack); err != nil {
		return nil, err
	}
	return Acknowledged{Alerts: len(alerts), By: ack.By, Until: ack.Until}, nil
}

func notFiring(r *http.Request) error {
	return &apiError{
		Status: http.StatusNotFound, Code: "not_found", Message: fmt.Sprintf("no alert %.60q fires on this island", r.PathValue("target")),
		Remedy: "it may be over: look at " + BoardPath,
	}
}

func (b *board) unacknowledge(r *http.Request) (any, error) {
	e := b.a.embedded
	alerts := e.target(r.PathValue("target"), time.Now())
	if len(alerts) == 0 {
		return nil, notFiring(r)
	}
	out := Acknowledged{}
	for _, a := range alerts {
		if e.endAcks(a.Labels) > 0 {
			out.Alerts++
		}
	}
	e.keepSilences()
	return out, nil
}

// previewRequest is what POST PreviewPath takes. Durations are as in rule files.
type previewRequest struct {
	Expr          string            `json:"expr"`
	For           string            `json:"for"`
	KeepFiringFor string            `json:"keep_firing_for"`
	Interval      string            `json:"interval"`
	Labels        map[string]string `json:"labels"`
	RangeSeconds  float64           `json:"range_seconds"`
}

const previewTimeout = 30 * time.Second

func (b *board) preview(r *http.Request) (any, error) {
	var req previewRequest
	if err := decode(r, &req); err != nil {
		return nil, err
	}
	ask, err := b.previewAsk(req)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), previewTimeout)
	defer cancel()
	select {
	case b.previews <- struct{}{}:
		defer func() { <-b.previews }()
	case <-ctx.Done():
		return nil, &apiError{Status: http.StatusServiceUnavailable, Code: "busy", Message: "other previews are being made", Remedy: "try again in a moment"}
	}
	out, err := preview.Run(ctx, b.a.opts.Engine, b.a.opts.Queryable, b.a.opts.Parser, ask)
	var refused *preview.Error
	switch {
	case errors.As(err, &refused):
		return nil, invalid(refused.Field, "%s", refused.Text)
	case ctx.Err() != nil:
		return nil, &apiError{Status: http.StatusServiceUnavailable, Code: "timeout", Message: fmt.Sprintf("the preview took longer than %s", previewTimeout), Remedy: "choose a shorter range or a cheaper expression"}
	case err != nil:
		return nil, &apiError{Status: http.StatusUnprocessableEntity, Code: "execution", Field: "expr", Message: err.Error(), Remedy: "choose a shorter range or narrow the expression"}
	}
	return out, nil
}

func (b *board) previewAsk(req previewRequest) (preview.Ask, error) {
	ask := preview.Ask{Expr: req.Expr, Labels: req.Labels, To: time.Now(), Range: 7 * 24 * time.Hour}
	b.a.mu.Lock()
	ask.Interval = b.a.plan.rules.interval
	b.a.mu.Unlock()
	if req.RangeSeconds != 0 {
		if !(req.RangeSeconds >= 60 && req.RangeSeconds <= 31*86400) {
			return ask, invalid("range_seconds", "range_seconds is %g: must be from 60 to %d", req.RangeSeconds, 31*86400)
		}
		ask.Range = time.Duration(req.RangeSeconds * float64(time.Second))
	}
	for _, f := range []struct {
		name, text string
		into       *time.Duration
	}{{"for", req.For, &ask.For}, {"keep_firing_for", req.KeepFiringFor, &ask.KeepFiringFor}, {"interval", req.Interval, &ask.Interval}} {
		if strings.TrimSpace(f.text) == "" {
			continue
		}
		d, err := model.ParseDuration(strings.TrimSpace(f.text))
		if err != nil {
			return ask, invalid(f.name, "%s is %.60q: %v", f.name, f.text, err)
		}
		*f.into = time.Duration(d)
	}
	if ask.Interval <= 0 {
		return ask, invalid("interval", "interval must be longer than 0")
	}
	return ask, nil
}

package replica

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/atoll-mesh/atoll/trust"
	"github.com/atoll-mesh/atoll/wire/replicapb"
)

const apiPath = "/api/atoll/v1"

// DocumentJSON is a document over HTTP.
type DocumentJSON struct {
	Key string `json:"key"`
	// Value is text; left out of lists unless asked for.
	Value *string `json:"value,omitempty"`
	// Time is the version, a number in a string: it exceeds what JavaScript holds.
	Time     uint64    `json:"time,string"`
	Modified time.Time `json:"modified"`
	Deleted  bool      `json:"deleted,omitempty"`
	Author   string    `json:"author"`
	Bytes    int       `json:"bytes"`
}

// show is toJSON, without the values of kinds that hold secrets.
func (r *Replica) show(d *replicapb.Document, withValue bool) DocumentJSON {
	return toJSON(d, withValue && !r.secret(d.GetKey()))
}

func (r *Replica) secret(key string) bool {
	kind, _, _ := strings.Cut(key, "/")
	return slices.Contains(r.o.Secret, kind)
}

// VersionJSON is an older version over HTTP.
type VersionJSON struct {
	DocumentJSON
	Until  time.Time `json:"until"`
	Reason string    `json:"reason,omitempty"`
	Void   bool      `json:"void,omitempty"`
}

func toJSON(d *replicapb.Document, withValue bool) DocumentJSON {
	j := DocumentJSON{Key: d.GetKey(), Time: d.GetTime(), Modified: TimeOf(d.GetTime()).UTC(), Deleted: d.GetDeleted(), Bytes: len(d.GetValue())}
	if author, err := trust.KeyOf(d.GetAuthor()); err == nil {
		j.Author = author.String()
	}
	if withValue && !d.GetDeleted() {
		v := string(d.GetValue())
		j.Value = &v
	}
	return j
}

// Handler serves what reads: lists, documents, history, watch and status, under
// /api/atoll/v1/documents and /api/atoll/v1/replica.
func (r *Replica) Handler() http.Handler { return serve(r.reading()) }

// WriteHandler serves what Handler does, and PUT and DELETE of documents. Whoever
// reaches it writes in this island's name: mount it behind what lets only the
// right people in.
func (r *Replica) WriteHandler() http.Handler { return serve(r.reading(), r.writing()) }

// Patterns are those of http.ServeMux that Handler answers, and those that only
// WriteHandler does.
func Patterns() (read, write []string) {
	var r *Replica // the handlers are named, not called
	return slices.Sorted(maps.Keys(r.reading())), slices.Sorted(maps.Keys(r.writing()))
}

func serve(tables ...map[string]http.HandlerFunc) *http.ServeMux {
	mux := http.NewServeMux()
	for _, routes := range tables {
		for pattern, h := range routes {
			mux.HandleFunc(pattern, h)
		}
	}
	return mux
}

func (r *Replica) reading() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET " + apiPath + "/documents":                       answering(r.httpList),
		"GET " + apiPath + "/documents/watch":                 answering(r.httpWatch),
		"GET " + apiPath + "/documents/{kind}/{name}":         answering(r.httpGet),
		"GET " + apiPath + "/documents/{kind}/{name}/history": answering(r.httpHistory),
		"GET " + apiPath + "/replica": answering(func(w http.ResponseWriter, _ *http.Request) error {
			return writeJSON(w, http.StatusOK, r.Status())
		}),
	}
}

func (r *Replica) writing() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"PUT " + apiPath + "/documents/{kind}/{name}":    answering(r.httpPut),
		"DELETE " + apiPath + "/documents/{kind}/{name}": answering(r.httpDelete),
	}
}

// answering turns an error into its JSON form. A handler that began to write its
// answer returns nil.
func answering(h func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, q *http.Request) {
		err := h(w, q)
		if err == nil {
			return
		}
		var e *Error
		if !errors.As(err, &e) {
			e = &Error{Code: "internal", Message: err.Error(), Is: err}
		}
		if errors.Is(err, ErrClosed) {
			e = &Error{Code: "closed", Message: err.Error(), Remedy: "the island is stopping; ask another one", Is: ErrClosed}
		}
		_ = writeJSON(w, httpStatus(e), e) // it is always nil
	}
}

func httpStatus(e *Error) int {
	switch is := e.Is; {
	case errors.Is(is, ErrNotFound):
		return http.StatusNotFound
	case errors.Is(is, ErrConflict):
		return http.StatusPreconditionFailed
	case errors.Is(is, ErrInvalid):
		if e.Code == "too_large" {
			return http.StatusRequestEntityTooLarge
		}
		return http.StatusBadRequest
	case errors.Is(is, ErrRefused):
		return http.StatusForbidden
	case errors.Is(is, ErrFull):
		return http.StatusInsufficientStorage
	case errors.Is(is, ErrOutdated), errors.Is(is, ErrDeferred):
		return http.StatusConflict
	case errors.Is(is, ErrStorage), errors.Is(is, ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// writeJSON returns nil: an answer that was begun cannot become an error.
func writeJSON(w http.ResponseWriter, code int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
	return nil
}

func documentKey(q *http.Request) string { return q.PathValue("kind") + "/" + q.PathValue("name") }

func etag(d *replicapb.Document) string { return `"` + strconv.FormatUint(d.GetTime(), 10) + `"` }

func (r *Replica) httpList(w http.ResponseWriter, q *http.Request) error {
	values := q.FormValue("values") == "true"
	docs := r.List(q.FormValue("prefix"))
	out := make([]DocumentJSON, 0, len(docs))
	for _, d := range docs {
		out = append(out, r.show(d, values))
	}
	return writeJSON(w, http.StatusOK, map[string]any{"documents": out})
}

func (r *Replica) httpGet(w http.ResponseWriter, q *http.Request) error {
	d, err := r.Get(documentKey(q))
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(d))
	if q.Header.Get("If-None-Match") == etag(d) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	if strings.HasPrefix(q.Header.Get("Accept"), "text/plain") && !r.secret(d.GetKey()) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = w.Write(d.GetValue()) // the client may be gone
		return nil
	}
	return writeJSON(w, http.StatusOK, r.show(d, true))
}

func (r *Replica) httpHistory(w http.ResponseWriter, q *http.Request) error {
	key := documentKey(q)
	versions, err := r.Versions(key)
	if err != nil {
		return err
	}
	if len(versions) == 0 && r.index.get(key) == nil {
		return notFound(key)
	}
	out := make([]VersionJSON, 0, len(versions))
	for _, v := range versions {
		out = append(out, VersionJSON{r.show(v.Document, true), time.UnixMilli(v.Until).UTC(), v.Reason, v.Void})
	}
	answer := map[string]any{"versions": out}
	if d, err := r.store.document(key); err == nil && d != nil {
		answer["current"] = r.show(d, true)
	}
	return writeJSON(w, http.StatusOK, answer)
}

func (r *Replica) httpPut(w http.ResponseWriter, q *http.Request) error {
	expect, err := expectation(q)
	if err != nil {
		return err
	}
	value, err := io.ReadAll(http.MaxBytesReader(w, q.Body, trust.MaxDocumentValue))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return &Error{Code: "too_large", Field: "value", Is: ErrInvalid,
			Message: fmt.Sprintf("document %q: its value is over %d bytes", documentKey(q), trust.MaxDocumentValue),
			Remedy:  "divide it into several documents"}
	}
	if err != nil {
		return invalid("value", fmt.Errorf("read the value: %w", err))
	}
	if !utf8.Valid(value) {
		return invalid("value", fmt.Errorf("document %q: its value is not UTF-8 text", documentKey(q)))
	}
	d, err := r.Set(q.Context(), documentKey(q), value, expect)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(d))
	return writeJSON(w, http.StatusOK, r.show(d, false))
}

func (r *Replica) httpDelete(w http.ResponseWriter, q *http.Request) error {
	expect, err := expectation(q)
	if err != nil {
		return err
	}
	d, err := r.Delete(q.Context(), documentKey(q), expect)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", etag(d))
	return writeJSON(w, http.StatusOK, r.show(d, false))
}

// expectation reads If-Match: "TIME" and If-None-Match: *.
func expectation(q *http.Request) (uint64, error) {
	if q.Header.Get("If-None-Match") == "*" {
		return Absent, nil
	}
	tag := strings.TrimSpace(q.Header.Get("If-Match"))
	if tag == "" {
		return 0, nil
	}
	t, err := strconv.ParseUint(strings.Trim(tag, `"`), 10, 64)
	if err != nil || t == 0 || t == Absent {
		return 0, &Error{Code: "invalid", Field: "If-Match", Is: ErrInvalid,
			Message: fmt.Sprintf("header If-Match %.80q: must be a document's time in quotes", tag),
			Remedy:  "use the ETag of the version read"}
	}
	return t, nil
}

// sseAlive keeps proxies from closing a silent watch.
const sseAlive = 15 * time.Second

func (r *Replica) httpWatch(w http.ResponseWriter, q *http.Request) error {
	if r.watchers.len() >= maxWatchers {
		return &Error{Code: "busy", Is: ErrFull, Message: fmt.Sprintf("watch documents: %d watches are open", maxWatchers), Remedy: "close some"}
	}
	events, cancel := r.Watch(q.FormValue("prefix"))
	defer cancel()
	out := http.NewResponseController(w)
	_ = out.SetWriteDeadline(time.Time{}) // not every writer has one
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
	alive := time.NewTicker(sseAlive)
	defer alive.Stop()
	for {
		if err := out.Flush(); err != nil {
			return nil
		}
		select {
		case e, ok := <-events:
			if !ok {
				return nil
			}
			r.writeEvent(w, e)
		case <-alive.C:
			fmt.Fprint(w, ": alive\n\n")
		case <-q.Context().Done():
			return nil
		}
	}
}

func (r *Replica) writeEvent(w io.Writer, e Event) {
	name, data := "gone", any(map[string]string{"key": e.Key})
	if e.Document != nil {
		name, data = "document", r.show(e.Document, true)
	}
	text, err := json.Marshal(data)
	if err != nil {
		return
	}
	fmt.Fprintf(w, "event: %s\ndata: %s\n\n", name, text)
}

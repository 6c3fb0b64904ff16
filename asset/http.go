package asset

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Where the room answers.
const (
	SearchPath    = "/api/atoll/v1/search"
	ResourcesPath = "/api/atoll/v1/resources"
)

// refusal is an error as the API shows it.
type refusal struct {
	status  int
	Code    string `json:"code"`
	Message string `json:"message"`
	Field   string `json:"field,omitempty"`
	Remedy  string `json:"remedy"`
}

func bad(field, message, remedy string) *refusal {
	return &refusal{status: http.StatusBadRequest, Code: "bad_request", Message: message, Field: field, Remedy: remedy}
}

// Handler answers GET on the paths above.
func (v *Inventory) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+SearchPath, answering(v.serveSearch))
	mux.HandleFunc("GET "+HostsPath, answering(v.serveHosts))
	mux.HandleFunc("GET "+ResourcesPath, answering(v.serveResources))
	mux.HandleFunc("GET "+ResourcesPath+"/{id}", answering(v.serveResource))
	return mux
}

func answering(f func(*http.Request) (any, *refusal)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		answer, refused := f(r)
		status := http.StatusOK
		if refused != nil {
			answer, status = refused, refused.status
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(answer) // the client went away
	}
}

// readRequest reads ?q=&kind=&limit=; kind may be there more than once, or name several.
func readRequest(r *http.Request) (Request, Query, *refusal) {
	form := r.URL.Query()
	req := Request{Text: form.Get("q")}
	q, err := Parse(req.Text)
	if err != nil {
		return req, q, bad("q", "search: "+err.Error(), "Search for fewer or shorter words.")
	}
	for name := range strings.SplitSeq(strings.Join(form["kind"], ","), ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		k, ok := KindOf(name)
		if !ok {
			return req, q, bad("kind", fmt.Sprintf("kind: there is no kind %.40q", name), "Use one of "+strings.Join(kindNames[:], ", ")+".")
		}
		if !slices.Contains(req.Kinds, k) {
			req.Kinds = append(req.Kinds, k)
		}
	}
	var refused *refusal
	if req.Limit, refused = readNumber(form.Get("limit"), "limit", DefaultLimit, 1, MaxLimit); refused != nil {
		return req, q, refused
	}
	return req, q.Only(req.Kinds...), nil
}

func readNumber(text, field string, without, least, most int) (int, *refusal) {
	if text == "" {
		return without, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, bad(field, fmt.Sprintf("%s: %.40q is not a number from %d to %d", field, text, least, most), fmt.Sprintf("Give a number from %d to %d, or leave it out for %d.", least, most, without))
	}
	return n, nil
}

// The scopes of a search.
const (
	scopeLocal = "local"
	scopeAll   = "all"
)

// serveSearch answers ?q=&kind=&limit=&scope=local|all.
func (v *Inventory) serveSearch(r *http.Request) (any, *refusal) {
	req, q, refused := readRequest(r)
	if refused != nil {
		return nil, refused
	}
	switch scope := r.URL.Query().Get("scope"); scope {
	case "", scopeLocal:
		return v.Search(q, req.Limit), nil
	case scopeAll:
		answer, err := v.Everywhere(r.Context(), req)
		if err != nil {
			return nil, bad("q", "search: "+err.Error(), "Search for fewer or shorter words.")
		}
		return answer, nil
	default:
		return nil, bad("scope", fmt.Sprintf("scope: there is no scope %.40q", scope), "Use local for this island, all for every island.")
	}
}

// Page is a part of a list.
type Page struct {
	Items []Found `json:"items"`
	// Total is how many there are on all pages.
	Total int `json:"total"`
	// NextOffset is where the next page begins; absent on the last.
	NextOffset int `json:"next_offset,omitempty"`
}

// serveResources answers ?q=&kind=&limit=&offset=, by kind and name.
func (v *Inventory) serveResources(r *http.Request) (any, *refusal) {
	req, q, refused := readRequest(r)
	if refused != nil {
		return nil, refused
	}
	offset, refused := readNumber(r.URL.Query().Get("offset"), "offset", 0, 0, v.o.MaxResources)
	if refused != nil {
		return nil, refused
	}
	return v.List(q, offset, req.Limit), nil
}

// serveResource answers with one resource.
func (v *Inventory) serveResource(r *http.Request) (any, *refusal) {
	text := r.PathValue("id")
	id, ok := parseID(text)
	if !ok {
		return nil, bad("id", fmt.Sprintf("resource: %.40q is not an id", text), "Take the id from a search: 16 digits and letters a to f.")
	}
	found, ok := v.Get(id)
	if !ok {
		return nil, &refusal{
			status: http.StatusNotFound, Code: "not_found", Field: "id", Message: "resource: this island knows none of id " + text,
			Remedy: "It may be gone, or known to another island only: search with scope=all.",
		}
	}
	return found, nil
}

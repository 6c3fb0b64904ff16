package access

import (
	"net/http"
	"strconv"
	"time"
)

// Entry is a line of an audit log.
type Entry struct {
	Time    time.Time `json:"time"`
	Actor   string    `json:"actor"`
	Action  string    `json:"action"`
	Subject string    `json:"subject"`
	Detail  string    `json:"detail,omitempty"`
	// Log says in which log it stands, and Seq where.
	Log string `json:"log"`
	Seq uint64 `json:"seq"`
}

// Log is where changes are written down.
type Log interface {
	// Append writes durably. Time, Log and Seq are filled in.
	Append(Entry) error
	// Newest returns at most limit entries, the newest first, older than what
	// before stands for, which is "" or what next was; next is "" at the end.
	Newest(before string, limit int) (entries []Entry, next string, err error)
}

const (
	auditPage    = 100
	maxAuditPage = 1000
)

func (a *Access) listAudit(w http.ResponseWriter, r *http.Request) error {
	limit := auditPage
	if text := r.FormValue("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxAuditPage {
			return invalid("limit", "%.20q: must be a number from 1 to %d", text, maxAuditPage)
		}
		limit = n
	}
	entries, next, err := a.options.Log.Newest(r.FormValue("before"), limit)
	if err != nil {
		return err
	}
	if entries == nil {
		entries = []Entry{}
	}
	writeJSON(w, http.StatusOK, struct {
		Items []Entry `json:"items"`
		Next  string  `json:"next,omitempty"`
	}{entries, next})
	return nil
}

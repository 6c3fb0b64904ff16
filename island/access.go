package island

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/atoll-mesh/atoll/config"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/policy"
	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
)

// newAccess makes the check before every route. Its files are opened once the data
// directory is this process' own.
func (i *Island) newAccess(r *rooms, cfg *config.Config) (err error) {
	r.accessLog = &accessLog{island: i}
	r.access, err = access.New(access.Options{
		Config: cfg.HTTP.Config, Dir: cfg.Island.DataDir, Island: cfg.Island.Name, Log: r.accessLog,
		Policy: func() *policy.Set {
			if m := i.membership.Load(); m != nil {
				return m.state.Load().Policy()
			}
			return nil
		},
		Network: func() access.Documents {
			if m := i.membership.Load(); m != nil {
				return accounts{m}
			}
			return nil
		},
		URL: func() string {
			if u := r.portal.URL(); u != nil {
				return u.String()
			}
			return "" // it listens no more
		},
		Logger: i.room("access"), Registerer: i.registry,
	})
	return err
}

func (r *rooms) openAccess(dir string) error {
	if err := r.accessLog.open(filepath.Join(dir, "portal")); err != nil {
		return err
	}
	return r.access.Open()
}

func (r *rooms) closeAccess() error { return errors.Join(r.access.Close(), r.accessLog.close()) }

func (r *rooms) runAccess(ctx context.Context) error {
	return errors.Join(r.access.Run(ctx), r.accessLog.close())
}

// changeRoutes are what changes the network and its documents over HTTP. The check
// before every route lets in only who may, and writes down who did.
func (i *Island) changeRoutes() map[string]http.Handler {
	documents := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		m := i.membership.Load()
		if m == nil {
			control.Refuse(w, i.room("control"), control.ErrNotJoined)
			return
		}
		m.documents.WriteHandler().ServeHTTP(w, r)
	})
	return map[string]http.Handler{
		control.Prefix:              control.AllRoutes(i.view(), i.governance(), i.room("control")),
		"/api/atoll/v1/documents":   documents,
		"/api/atoll/v1/documents/":  documents,
		"GET /api/atoll/v1/replica": documents,
		copiesRoute:                 http.HandlerFunc(i.showCopies),
	}
}

// accountRoutes let the island's own user manage accounts over the socket.
func (i *Island) accountRoutes(mux *http.ServeMux) {
	r := i.getRooms()
	for _, pattern := range slices.Sorted(maps.Keys(r.access.Routes())) {
		mux.Handle(pattern, r.access.AsSocket(r.access.Routes()[pattern]))
	}
}

// accounts are the users and tokens of a network: documents that all its islands hold.
type accounts struct{ m *membership }

// Get implements access.Documents.
func (d accounts) Get(key string) ([]byte, error) {
	doc, err := d.m.documents.Get(key)
	if errors.Is(err, replica.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the shared document %s: %w", key, err)
	}
	return doc.GetValue(), nil
}

// List implements access.Documents.
func (d accounts) List(prefix string) map[string][]byte {
	out := map[string][]byte{}
	for _, doc := range d.m.documents.List(prefix) {
		if !doc.GetDeleted() {
			out[doc.GetKey()] = doc.GetValue()
		}
	}
	return out
}

// Put implements access.Documents.
func (d accounts) Put(ctx context.Context, key string, value []byte) error {
	_, err := d.m.documents.Set(ctx, key, value, 0)
	return accountProblem(err)
}

// Delete implements access.Documents.
func (d accounts) Delete(ctx context.Context, key string) error {
	_, err := d.m.documents.Delete(ctx, key, 0)
	return accountProblem(err)
}

func accountProblem(err error) error {
	if !errors.Is(err, replica.ErrRefused) {
		return err
	}
	return &access.Error{
		Status: http.StatusForbidden, Code: "forbidden", Field: "place",
		Message: "this island may not write accounts for the whole network: " + err.Error(),
		Remedy:  "do it on an island of role admin, or with \"place\": \"island\" for this island alone",
	}
}

// accessLog writes to the log of the network, and where there is none to one of its
// own, which is chained and signed in the same way by a key of its own.
type accessLog struct {
	island *Island

	mu  sync.Mutex
	own *trust.Audit
}

func (l *accessLog) open(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the directory of the audit log: %w", err)
	}
	file := filepath.Join(dir, "audit.key")
	key, err := trust.LoadKey(file)
	if errors.Is(err, fs.ErrNotExist) {
		if key, err = trust.NewKey(); err == nil {
			err = trust.SaveKey(file, key)
		}
	}
	if err != nil {
		return fmt.Errorf("key of the audit log: %w", err)
	}
	own, err := trust.OpenAudit(filepath.Join(dir, "audit.jsonl"), trust.NetworkOf(key.Public()), func() trust.PrivateKey { return key })
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.own = own
	return nil
}

func (l *accessLog) close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.own == nil {
		return nil
	}
	err := l.own.Close()
	l.own = nil
	return err
}

// both are the network's log and this island's, either of which may be nil.
func (l *accessLog) both() (network, own *trust.Audit) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m := l.island.membership.Load(); m != nil {
		network = m.audit
	}
	return network, l.own
}

// Append implements access.Log.
func (l *accessLog) Append(e access.Entry) error {
	log, own := l.both()
	if log == nil {
		log = own
	}
	if log == nil {
		return errors.New("the island is starting or stopping")
	}
	_, err := log.Append(trust.AuditEntry{Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: e.Detail})
	return err
}

// Newest implements access.Log: the cursor is how far each of the logs was read.
func (l *accessLog) Newest(before string, limit int) ([]access.Entry, string, error) {
	network, own := l.both()
	cursors, err := readCursor(before)
	if err != nil {
		return nil, "", err
	}
	var all []access.Entry
	for n, log := range []*trust.Audit{network, own} {
		entries, err := tailOf(log, cursors[n], limit)
		if err != nil {
			return nil, "", err
		}
		for _, e := range entries {
			all = append(all, access.Entry{
				Time: time.UnixMilli(e.TimeMs).UTC(), Actor: e.Actor, Action: e.Action, Subject: e.Subject, Detail: e.Detail,
				Log: logNames[n], Seq: e.Seq,
			})
		}
	}
	slices.SortStableFunc(all, func(a, b access.Entry) int { return b.Time.Compare(a.Time) })
	more := len(all) > limit
	all = all[:min(len(all), limit)]
	for _, e := range all {
		n := slices.Index(logNames[:], e.Log)
		cursors[n] = min(cursors[n], e.Seq)
		more = more || e.Seq > 1
	}
	if !more || len(all) == 0 {
		return all, "", nil
	}
	return all, fmt.Sprintf("%d.%d", cursors[0], cursors[1]), nil
}

var logNames = [2]string{"network", "island"}

// unread is a cursor before anything was read.
const unread = ^uint64(0)

func readCursor(text string) (c [2]uint64, err error) {
	c = [2]uint64{unread, unread}
	if text == "" {
		return c, nil
	}
	a, b, ok := strings.Cut(text, ".")
	c[0], err = strconv.ParseUint(a, 10, 64)
	if err == nil {
		c[1], err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil || !ok {
		return c, &access.Error{
			Status: http.StatusBadRequest, Code: "invalid", Field: "before", Message: fmt.Sprintf("before %.60q: is no place in the log", text),
			Remedy: "leave it out, or give what next was",
		}
	}
	return c, nil
}

// tailOf are the newest entries of a log before one of its entries, the newest first.
func tailOf(log *trust.Audit, before uint64, limit int) ([]trust.AuditEntry, error) {
	if log == nil || before == 0 {
		return nil, nil
	}
	last := min(before-1, log.Head().Seq)
	entries, err := log.Entries(last - min(last, uint64(limit)))
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(entries, func(e trust.AuditEntry) bool { return e.Seq > last })
	slices.Reverse(entries)
	return entries, nil
}

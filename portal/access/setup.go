package access

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base32"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/atoll-mesh/atoll/flow/durable"
)

// setup makes the first admin, for whoever can read the island's terminal or disk.
type setup struct {
	mu   sync.Mutex
	code string // "" while none is offered
	left int    // tries
}

// codeTries is how often one code can be tried. It has 60 bits: a hundred tries
// find none, and few enough would let a stranger take it from who is reading it.
const codeTries = 100

func newCode() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never errs
	text := base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding).EncodeToString(b)
	return text[:4] + "-" + text[4:8] + "-" + text[8:12]
}

func (a *Access) codeFile() string { return filepath.Join(a.options.Dir, "run", "setup-code") }

// setupNeeded reports whether there is no user anywhere.
func (a *Access) setupNeeded() (bool, error) {
	on, err := a.current()
	if err != nil {
		return false, nil // nobody can set anything up yet
	}
	names, err := on.keys(KindUsers)
	return len(names) == 0, err
}

// offerSetup shows a code while there is no user.
func (a *Access) offerSetup() error {
	needed, err := a.setupNeeded()
	if err != nil {
		return err
	}
	if !needed {
		a.setup.done(a)
		return nil
	}
	a.setup.mu.Lock()
	defer a.setup.mu.Unlock()
	if a.setup.code != "" {
		return nil
	}
	return a.setup.offerLocked(a)
}

func (s *setup) offerLocked(a *Access) error {
	s.code, s.left = newCode(), codeTries
	url := ""
	if a.options.URL != nil {
		url = a.options.URL()
	}
	a.log.Info("there is no user yet: open the page and enter the set-up code", "code", s.code, "url", url, "file", a.codeFile())
	return durable.Write(a.codeFile(), 0o600, []byte(s.code+"\n"))
}

// done takes the code back.
func (s *setup) done(a *Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doneLocked(a)
}

func (s *setup) doneLocked(a *Access) {
	s.code = ""
	if err := os.Remove(a.codeFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.log.Warn("remove the set-up code", "error", err)
	}
}

// plainCode takes a code as people type it.
func plainCode(text string) string {
	return strings.ToLower(strings.NewReplacer("-", "", " ", "", "\n", "", "\t", "", "o", "0", "O", "0", "i", "1", "I", "1", "l", "1", "L", "1").Replace(text))
}

func (a *Access) setUp(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Code     string `json:"code"`
		User     string `json:"user"`
		Password string `json:"password"`
	}
	if err := read(w, r, &q); err != nil {
		return err
	}
	on, err := a.current()
	if err != nil {
		return err
	}
	addr := clientOf(r.RemoteAddr)
	if wait := a.limiter.try("set-up code "+addr, addr); wait > 0 {
		a.metrics.logins.WithLabelValues("limited").Inc()
		return limited(wait)
	}
	a.setup.mu.Lock()
	defer a.setup.mu.Unlock()
	if err := a.checkCode(q.Code, addr); err != nil {
		return err
	}
	a.limiter.succeeded("set-up code "+addr, addr)
	u, err := a.newUser(r.Context(), on, normal(q.User), q.Password, []string{"admin"}, "set-up code")
	if err != nil {
		return err
	}
	entry := Entry{Actor: "set-up code", Action: "user-add", Subject: u.Name, Detail: "the first admin, from " + addr}
	if err := a.options.Log.Append(entry); err != nil {
		return errNoAudit(err)
	}
	place := on.defaultPlace()
	err = on.put(r.Context(), place, KindUsers, u.Name, u)
	var no *Error
	if place == Network && errors.As(err, &no) && no.Code == "forbidden" {
		// This island has no right to write users for all: its first admin is its own.
		err = on.put(r.Context(), Here, KindUsers, u.Name, u)
	}
	if err != nil {
		return err
	}
	a.setup.doneLocked(a)
	return a.begin(w, r, on, session{Name: u.Name, Stamp: u.Stamp, Source: Password}, u.Roles)
}

func (a *Access) checkCode(code, addr string) error {
	needed, err := a.setupNeeded()
	if err != nil {
		return err
	}
	if !needed {
		return &Error{Status: http.StatusConflict, Code: "set-up", Message: "the island is set up: there are users", Remedy: "sign in, or ask an admin to add you"}
	}
	if a.setup.code == "" {
		return errStarting
	}
	if subtle.ConstantTimeCompare([]byte(plainCode(code)), []byte(plainCode(a.setup.code))) == 1 {
		return nil
	}
	a.metrics.logins.WithLabelValues("wrong").Inc()
	a.logRefusal(Entry{Actor: "anonymous", Action: "set-up-refused", Subject: "set-up code", Detail: "from " + addr})
	if a.setup.left--; a.setup.left <= 0 {
		if err := a.setup.offerLocked(a); err != nil {
			return err
		}
	}
	return &Error{
		Status: http.StatusForbidden, Code: "wrong-code", Field: "code", Message: "the set-up code is another",
		Remedy: "read it in the island's log or in " + filepath.Join("run", "setup-code") + " of its data directory; it changes after " +
			"a hundred wrong tries and with each start",
	}
}

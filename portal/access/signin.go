package access

import (
	"context"
	"net/http"
	"time"

	"github.com/atoll-mesh/atoll/policy"
)

type zoneKey struct{}

func withZone(ctx context.Context, z Zone) context.Context {
	return context.WithValue(ctx, zoneKey{}, z)
}

func zoneOf(ctx context.Context) Zone {
	z, _ := ctx.Value(zoneKey{}).(Zone)
	return z
}

// sessionAnswer is what GET /api/atoll/v1/session tells, and signing in too.
type sessionAnswer struct {
	// User is "" while nobody signed in.
	User   string   `json:"user"`
	Source Source   `json:"source,omitempty"`
	Roles  []string `json:"roles"`
	CSRF   string   `json:"csrf,omitempty"`
	// SetupNeeded tells that there is no user yet.
	SetupNeeded bool `json:"setup_needed"`
	// OIDC tells that GET /api/atoll/v1/oidc/start leads to a provider.
	OIDC bool `json:"oidc"`
	// Anonymous lists what is open without signing in.
	Anonymous []Class         `json:"anonymous"`
	May       []policy.Action `json:"may"`
}

func (a *Access) describe(p Principal, z Zone) (sessionAnswer, error) {
	needed, err := a.setupNeeded()
	if err != nil {
		return sessionAnswer{}, err
	}
	s := sessionAnswer{
		Source: p.Source, Roles: []string{}, SetupNeeded: needed, OIDC: a.provider != nil, Anonymous: a.config.openClasses(z), May: a.May(p, z),
	}
	if p.Source != Nobody {
		s.User = p.Name
	}
	if len(p.Roles) > 0 {
		s.Roles = p.Roles
	}
	if p.session != "" {
		s.CSRF = csrfOf(p.session)
	}
	return s, nil
}

func (a *Access) getSession(w http.ResponseWriter, r *http.Request) error {
	p := From(r.Context())
	s, err := a.describe(p, zoneOf(r.Context()))
	if err != nil {
		return err
	}
	if p.session == "" && a.cookie(r) != "" {
		a.clearCookie(w, r)
	}
	writeJSON(w, http.StatusOK, s)
	return nil
}

var errWrong = &Error{
	Status: http.StatusUnauthorized, Code: "wrong-password", Message: "there is no such user, or the password is another",
	Remedy: "try again; an admin can set a new password, on the machine itself `atoll user passwd` does",
}

func limited(wait time.Duration) *Error {
	return &Error{
		Status: http.StatusTooManyRequests, Code: "limited", Message: "too many tries that went wrong",
		Remedy: "wait as long as Retry-After says", RetryAfter: wait,
	}
}

func (a *Access) signIn(w http.ResponseWriter, r *http.Request) error {
	var q struct {
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
	name, addr := normal(q.User), clientOf(r.RemoteAddr)
	if len(name) > 100 || len(q.Password) > maxPassword {
		return errWrong
	}
	if wait := a.limiter.try(name, addr); wait > 0 {
		a.metrics.logins.WithLabelValues("limited").Inc()
		return limited(wait)
	}
	u, err := a.proven(r.Context(), on, name, q.Password)
	if err != nil {
		a.metrics.logins.WithLabelValues("error").Inc()
		return err
	}
	if u == nil {
		a.metrics.logins.WithLabelValues("wrong").Inc()
		a.logRefusal(Entry{Actor: "anonymous", Action: "sign-in-refused", Subject: clip(name), Detail: "from " + addr})
		return errWrong
	}
	a.limiter.succeeded(name, addr)
	return a.begin(w, r, on, session{Name: u.Name, Stamp: u.Stamp, Source: Password}, u.Roles)
}

// proven returns the user whose password this is, or nil.
func (a *Access) proven(ctx context.Context, on *opened, name, password string) (*user, error) {
	u, _, err := on.user(name)
	if err != nil {
		return nil, err
	}
	hash := ""
	if u != nil && !u.Disabled {
		hash = u.Password
	}
	ok, err := a.hasher.verify(ctx, hash, password)
	if err != nil || !ok {
		return nil, err
	}
	return u, nil
}

// begin starts a session: always a new one, so that nobody can have chosen its ID
// before, and the one that the browser had is over.
func (a *Access) begin(w http.ResponseWriter, r *http.Request, on *opened, s session, roles []string) error {
	p := Principal{Source: s.Source, Name: s.Name, Roles: roles, addr: clientOf(r.RemoteAddr)}
	id, err := a.newSession(w, r, on, s, p)
	if err != nil {
		return err
	}
	p.session = id
	answer, err := a.describe(p, zoneOf(r.Context()))
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, answer)
	return nil
}

func (a *Access) newSession(w http.ResponseWriter, r *http.Request, on *opened, s session, p Principal) (string, error) {
	if err := a.options.Log.Append(Entry{Actor: p.Actor(), Action: "sign-in", Subject: s.Name, Detail: "from " + p.addr}); err != nil {
		return "", errNoAudit(err)
	}
	if old := a.cookie(r); old != "" {
		if err := on.sessions.end(old); err != nil {
			return "", err
		}
	}
	s.Created, s.Seen, s.Addr = a.now().UTC(), a.now().UTC(), p.addr
	id, err := on.sessions.begin(s)
	if err != nil {
		return "", err
	}
	a.metrics.logins.WithLabelValues("ok").Inc()
	a.setCookie(w, r, id)
	return id, nil
}

func (a *Access) signOut(w http.ResponseWriter, r *http.Request) error {
	p := From(r.Context())
	if p.session == "" {
		a.clearCookie(w, r)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if !sameCSRF(p.session, r.Header.Get(CSRFHeader)) {
		return errCSRF
	}
	on, err := a.current()
	if err != nil {
		return err
	}
	if err := on.sessions.end(p.session); err != nil {
		return err
	}
	if err := a.options.Log.Append(Entry{Actor: p.Actor(), Action: "sign-out", Subject: p.Name, Detail: "from " + p.addr}); err != nil {
		a.log.Error("write the audit log", "error", err)
	}
	a.clearCookie(w, r)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// changePassword is for users who know their present one.
func (a *Access) changePassword(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Old string `json:"old"`
		New string `json:"new"`
	}
	if err := read(w, r, &q); err != nil {
		return err
	}
	p := From(r.Context())
	if p.Source != Password {
		return forbidden("only who signed in with a password has one to change", "sign in with it, or ask an admin to set a new one")
	}
	on, err := a.current()
	if err != nil {
		return err
	}
	if err := checkPassword(p.Name, q.New); err != nil {
		return err
	}
	if wait := a.limiter.try(p.Name, p.addr); wait > 0 {
		return limited(wait)
	}
	u, err := a.proven(r.Context(), on, p.Name, q.Old)
	if err != nil {
		return err
	}
	if u == nil {
		return &Error{Status: http.StatusForbidden, Code: "wrong-password", Field: "old", Message: "the present password is another"}
	}
	a.limiter.succeeded(p.Name, p.addr)
	_, place, err := on.user(p.Name)
	if err != nil {
		return err
	}
	if u.Password, err = a.hasher.hash(r.Context(), q.New); err != nil {
		return err
	}
	u.Stamp, u.Changed, u.By = newStamp(), a.now().UTC(), p.Actor()
	if err := on.put(r.Context(), place, KindUsers, u.Name, u); err != nil {
		return err
	}
	// All sessions are over by the stamp; whoever changed it goes on with a new one.
	if err := on.sessions.endOf(u.Name, Password, ""); err != nil {
		return err
	}
	return a.begin(w, r, on, session{Name: u.Name, Stamp: u.Stamp, Source: Password}, u.Roles)
}

package access

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
)

const callbackPath = apiPrefix + "oidc/callback"

var errNoProvider = &Error{
	Status: http.StatusNotFound, Code: "not-found", Message: "this island signs people in by itself only",
	Remedy: "sign in with a name and a password; http.oidc names a provider",
}

func sameText(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// startOIDC sends a browser to the provider.
func (a *Access) startOIDC(w http.ResponseWriter, r *http.Request) error {
	if a.provider == nil {
		return errNoProvider
	}
	addr := clientOf(r.RemoteAddr)
	// No name is known yet, and one that all share would let a stranger lock out all.
	if wait := a.limiter.try(personPrefix+addr, addr); wait > 0 {
		a.metrics.logins.WithLabelValues("limited").Inc()
		return a.toLogin(w, r, limited(wait))
	}
	remote, err := a.provider.discover(r.Context())
	if err != nil {
		return a.toLogin(w, r, a.providerFailed(err))
	}
	conf, err := a.provider.oauth(remote, a.redirectURL())
	if err != nil {
		return a.toLogin(w, r, a.providerFailed(err))
	}
	f := flow{nonce: random(32), verifier: oauth2.GenerateVerifier(), browser: random(32), to: localPath(r.FormValue("to"))}
	state := a.provider.begin(f)
	a.setFlowCookie(w, r, f.browser, int(flowLife.Seconds()))
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, conf.AuthCodeURL(state, oidc.Nonce(f.nonce), oauth2.S256ChallengeOption(f.verifier)), http.StatusFound)
	return nil
}

// finishOIDC is where the provider sends a browser back to.
func (a *Access) finishOIDC(w http.ResponseWriter, r *http.Request) error {
	if a.provider == nil {
		return errNoProvider
	}
	on, err := a.current()
	if err != nil {
		return err
	}
	f, who, err := a.arrived(r)
	a.setFlowCookie(w, r, "", -1)
	if err != nil {
		return a.toLogin(w, r, a.refusedArrival(r, who, err))
	}
	if err := notDisabled(on, who.account); err != nil {
		return a.toLogin(w, r, a.refusedArrival(r, who, err))
	}
	addr := clientOf(r.RemoteAddr)
	s := session{Name: personPrefix + who.account, Roles: who.roles, Stamp: a.provider.stamp(), Source: OpenID}
	if _, err := a.newSession(w, r, on, s, Principal{Source: OpenID, Name: s.Name, Roles: s.Roles, addr: addr}); err != nil {
		return a.toLogin(w, r, err)
	}
	a.limiter.succeeded(personPrefix+addr, addr)
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, f.to, http.StatusFound)
	return nil
}

// arrived finds out who comes back.
func (a *Access) arrived(r *http.Request) (flow, person, error) {
	q := r.URL.Query()
	f, ok := a.provider.end(q.Get("state"))
	c, err := r.Cookie(a.flowCookieName(r))
	if !ok || err != nil || !sameText(c.Value, f.browser) {
		return flow{}, person{}, &Error{
			Status: http.StatusForbidden, Code: "bad-state", Message: "nobody went to the provider from this browser, or it took more than " + flowLife.String(),
			Remedy: "begin again on the page where people sign in, in one browser",
		}
	}
	if said := q.Get("error"); said != "" {
		return flow{}, person{}, refusedPerson("provider-refused", "the provider refused: "+clip(said+" "+q.Get("error_description")), "ask whoever runs it")
	}
	who, err := a.provider.redeem(r.Context(), q.Get("code"), a.redirectURL(), f)
	return f, who, err
}

// notDisabled asks for a local or shared account of the same name, whose only use
// is to shut somebody out.
func notDisabled(on *opened, account string) error {
	u, _, err := on.user(account)
	if err != nil || u == nil || !u.Disabled {
		return err
	}
	return refusedPerson("disabled", "the account "+account+" is disabled", "ask an admin")
}

func (a *Access) refusedArrival(r *http.Request, who person, err error) error {
	name := "?"
	if who.account != "" {
		name = personPrefix + who.account
	}
	a.logRefusal(Entry{Actor: "anonymous", Action: "sign-in-refused", Subject: name, Detail: clip(err.Error()) + ", from " + clientOf(r.RemoteAddr)})
	if _, ok := errors.AsType[*Error](err); !ok {
		return a.providerFailed(err)
	}
	a.metrics.logins.WithLabelValues("wrong").Inc()
	return err
}

// providerFailed keeps what the provider said for the log: it is no visitor's
// business.
func (a *Access) providerFailed(err error) error {
	a.metrics.logins.WithLabelValues("error").Inc()
	a.log.Warn("sign in by way of the OpenID provider", "error", clip(err.Error()))
	return &Error{
		Status: http.StatusBadGateway, Code: "provider", Message: "the OpenID provider did not say who you are",
		Remedy: "try again; the island's log has the reason", RetryAfter: restAfter,
	}
}

// toLogin leads browsers back to where people sign in, with the error's code, and
// leaves programs their JSON.
func (a *Access) toLogin(w http.ResponseWriter, r *http.Request, err error) error {
	e, ok := errors.AsType[*Error](err)
	if !ok || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, "/login?error="+url.QueryEscape(e.Code), http.StatusFound)
	return nil
}

func (a *Access) redirectURL() string {
	if a.config.OIDC.RedirectURL != "" || a.options.URL == nil {
		return a.config.OIDC.RedirectURL
	}
	return strings.TrimSuffix(a.options.URL(), "/") + callbackPath
}

// localPath is where to go afterwards: a place on this island, whatever was asked.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > 2000 || u.Scheme != "" || u.Host != "" || u.User != nil ||
		!strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

func (a *Access) flowCookieName(r *http.Request) string { return a.cookieName(r) + "_oidc" }

// setFlowCookie marks the browser that goes. It is Lax, because the way back comes
// from another site.
func (a *Access) setFlowCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{
		Name: a.flowCookieName(r), Value: value, Path: "/", MaxAge: seconds,
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteLaxMode,
	})
}

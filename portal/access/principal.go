package access

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/policy"
)

// Source is how somebody proved who they are.
type Source string

// The sources. Nobody is who proved nothing.
const (
	Nobody   Source = ""
	Password Source = "password"
	OpenID   Source = "oidc"
	Token    Source = "token"
	// Socket is the island's own user, by way of the unix socket.
	Socket Source = "socket"
	// WebConfig is somebody whom the file http.web_config lets in.
	WebConfig Source = "web_config"
)

// Principal is who asks.
type Principal struct {
	Source Source
	// Name is the user's, for a token its owner's, "token/ID" for a service token.
	Name  string
	Roles []string
	// Token is the ID of the token that was shown, TokenName what it is for.
	Token, TokenName string
	// Scopes bound what a token is good for.
	Scopes []string

	session string // its ID; "" unless there is one
	addr    string
}

// Known reports whether somebody signed in or showed a token.
func (p Principal) Known() bool { return p.Source != Nobody && p.Source != WebConfig }

// Actor is how the audit log names them.
func (p Principal) Actor() string {
	switch p.Source {
	case Password, OpenID:
		return "user " + p.Name
	case Token:
		if p.Name == "token/"+p.Token {
			return "token " + p.Token + " (" + p.TokenName + ")"
		}
		return "user " + p.Name + " by token " + p.Token + " (" + p.TokenName + ")"
	case Socket:
		return "the island's own user"
	case WebConfig:
		return "web_config user " + p.Name
	}
	return "anonymous"
}

func (p Principal) user() policy.User { return policy.User{Name: p.Name, Roles: p.Roles} }

type principalKey struct{}

// With returns a context in which p asks.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From is who asks; the zero Principal is nobody.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

// Zone is where a request came in.
type Zone struct {
	// Loopback tells that only this machine reaches the address.
	Loopback bool
	// Authenticated tells that http.web_config asked who it is; User is the name
	// that it was told.
	Authenticated bool
	User          string
}

// identify finds out who asks. A cookie that is no good any more makes nobody; a
// token that is no good is an error, for a program must hear of it.
func (a *Access) identify(r *http.Request, z Zone) (Principal, error) {
	addr := clientOf(r.RemoteAddr)
	if text, ok := bearer(r); ok {
		p, err := a.byToken(text)
		p.addr = addr
		return p, err
	}
	if id := a.cookie(r); id != "" {
		p, err := a.bySession(id)
		if err != nil {
			return Principal{}, err
		}
		if p.Known() {
			p.addr = addr
			return p, nil
		}
	}
	if z.Authenticated {
		return Principal{Source: WebConfig, Name: z.User, addr: addr}, nil
	}
	return Principal{addr: addr}, nil
}

func bearer(r *http.Request) (string, bool) {
	scheme, text, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(text), ok && strings.EqualFold(scheme, "Bearer")
}

var errBadToken = &Error{
	Status: http.StatusUnauthorized, Code: "unauthenticated", Message: "the token is unknown, revoked or expired",
	Remedy: "make another one under Settings or with `atoll token create`",
}

func (a *Access) byToken(text string) (Principal, error) {
	on, err := a.current()
	if err != nil {
		return Principal{}, err
	}
	id, secret, ok := splitToken(text)
	if !ok {
		return Principal{}, errBadToken
	}
	t, _, err := on.token(id)
	if err != nil {
		return Principal{}, err
	}
	if t == nil || !t.matches(secret) || !a.now().Before(t.Expires) {
		return Principal{}, errBadToken
	}
	p := Principal{Source: Token, Name: "token/" + t.ID, Roles: t.Roles, Token: t.ID, TokenName: t.Name, Scopes: t.Scopes}
	if t.User == "" {
		return p, nil
	}
	owner, _, err := on.user(t.User)
	if err != nil {
		return Principal{}, err
	}
	if owner == nil || owner.Disabled {
		return Principal{}, errBadToken
	}
	p.Name, p.Roles = owner.Name, owner.Roles
	return p, nil
}

func (a *Access) bySession(id string) (Principal, error) {
	on, err := a.current()
	if err != nil {
		return Principal{}, err
	}
	s, ok := on.sessions.use(id, a.config)
	if !ok {
		return Principal{}, nil
	}
	p := Principal{Source: s.Source, Name: s.Name, Roles: s.Roles, session: id}
	if s.Source == OpenID {
		return a.byProvider(on, id, s, p)
	}
	u, _, err := on.user(s.Name)
	if err != nil {
		return Principal{}, err
	}
	if u == nil || u.Disabled || u.Stamp != s.Stamp {
		return Principal{}, on.sessions.end(id)
	}
	p.Roles = u.Roles
	return p, nil
}

// byProvider ends sessions of a provider that is configured no more, and of people
// whom an admin has shut out.
func (a *Access) byProvider(on *opened, id string, s session, p Principal) (Principal, error) {
	if a.provider == nil || s.Stamp != a.provider.stamp() {
		return Principal{}, on.sessions.end(id)
	}
	err := notDisabled(on, strings.TrimPrefix(s.Name, personPrefix))
	if _, ok := errors.AsType[*Error](err); ok {
		return Principal{}, on.sessions.end(id)
	}
	if err != nil {
		return Principal{}, err
	}
	return p, nil
}

// Permits says whether p may do action to what: nil, or an *Error with the reason.
func (a *Access) Permits(p Principal, action policy.Action, what policy.Resource) error {
	switch p.Source {
	case Socket:
		return nil
	case Nobody, WebConfig:
		return errSignIn
	case Token:
		if !covers(p.Scopes, action) {
			return forbidden("the token's scopes are "+quoted(p.Scopes)+": "+string(action)+" is not among them", "make a token with that scope")
		}
	}
	d := a.policy().AuthorizeUser(p.user(), action, what)
	if !d.Allowed {
		return forbidden(d.Reason, "ask somebody who may, or an admin for a role that may")
	}
	return nil
}

var errSignIn = &Error{
	Status: http.StatusUnauthorized, Code: "unauthenticated", Message: "this needs somebody who signed in",
	Remedy: "sign in on the page, or send \"Authorization: Bearer TOKEN\"; `atoll token create` makes one",
}

// policy is the text that decides for users now.
func (a *Access) policy() *policy.Set {
	if a.options.Policy != nil {
		if set := a.options.Policy(); set != nil && set.SpeaksOfUsers() {
			return set
		}
	}
	return a.builtIn
}

// May lists what p may do to something at all, for the page to show what it can
// offer: of writing, what documents of rules stand for.
func (a *Access) May(p Principal, z Zone) []policy.Action {
	out := []policy.Action{}
	for _, action := range []policy.Action{policy.Read, policy.Ingest, policy.Silence, policy.Acknowledge, policy.Probe, policy.Write, policy.Administer} {
		what := policy.Resource{Kind: policy.Service, Name: apiPrefix}
		if action == policy.Write {
			what = policy.Resource{Kind: policy.Document, Name: "rules/main"}
		}
		open := p.Source != Token && slices.Contains([]policy.Action{policy.Read, policy.Ingest, policy.Silence, policy.Probe}, action) &&
			a.config.open(Class(action), z)
		if open || a.Permits(p, action, what) == nil {
			out = append(out, action)
		}
	}
	return out
}

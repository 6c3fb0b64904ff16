package access

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/policy"
)

// tokenAnswer is a token as the API shows it. Token is its text, shown once.
type tokenAnswer struct {
	Token   string    `json:"token,omitempty"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	User    string    `json:"user,omitempty"`
	Roles   []string  `json:"roles,omitempty"`
	Scopes  []string  `json:"scopes"`
	Place   Place     `json:"place"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired"`
	By      string    `json:"by,omitempty"`
}

func (a *Access) tokenAnswer(t *token, place Place) tokenAnswer {
	return tokenAnswer{
		ID: t.ID, Name: t.Name, User: t.User, Roles: t.Roles, Scopes: t.Scopes, Place: place, Created: t.Created,
		Expires: t.Expires, Expired: !a.now().Before(t.Expires), By: t.By,
	}
}

// administers reports whether p may see and end what is others'.
func (a *Access) administers(p Principal) bool {
	return a.Permits(p, policy.Administer, policy.Resource{Kind: policy.Service, Name: apiPrefix + "tokens"}) == nil
}

func (a *Access) tokens(on *opened, keep func(*token) bool) ([]tokenAnswer, error) {
	ids, err := on.keys(KindTokens)
	if err != nil {
		return nil, err
	}
	items := []tokenAnswer{}
	for _, id := range ids {
		t, place, err := on.token(id)
		if err != nil {
			a.log.Warn("a token's record is left out", "token", id, "error", err)
			continue
		}
		if t != nil && keep(t) {
			items = append(items, a.tokenAnswer(t, place))
		}
	}
	return items, nil
}

// listTokens shows people their own, admins all.
func (a *Access) listTokens(w http.ResponseWriter, r *http.Request) error {
	on, err := a.current()
	if err != nil {
		return err
	}
	p := From(r.Context())
	all := a.administers(p)
	items, err := a.tokens(on, func(t *token) bool { return all || t.User == p.Name && p.Source != OpenID })
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

// tokenRequest asks for a token: of one's own, or with roles for a service.
type tokenRequest struct {
	Name   string   `json:"name"`
	Scopes []string `json:"scopes"`
	// Roles make it a service token, which is no user's. Only admins make those.
	Roles []string `json:"roles"`
	// ExpiresSeconds is how long it is good for; 0 is 90 days.
	ExpiresSeconds float64 `json:"expires_seconds"`
	Place          Place   `json:"place"`
}

func (q tokenRequest) life() (time.Duration, error) {
	if q.ExpiresSeconds == 0 {
		return defaultTokenLife, nil
	}
	if q.ExpiresSeconds < 1 || q.ExpiresSeconds > maxTokenLife.Seconds() {
		return 0, invalid("expires_seconds", "%v: must be from 1 to %.0f, two years", q.ExpiresSeconds, maxTokenLife.Seconds())
	}
	return time.Duration(q.ExpiresSeconds * float64(time.Second)), nil
}

func (a *Access) createToken(w http.ResponseWriter, r *http.Request) error {
	var q tokenRequest
	if err := read(w, r, &q); err != nil {
		return err
	}
	on, err := a.current()
	if err != nil {
		return err
	}
	t, place, err := a.newToken(on, From(r.Context()), q)
	if err != nil {
		return err
	}
	text := t.mint()
	if err := a.writeDown(r, "token-create", t.ID, t.Name+", "+strings.Join(t.Scopes, ", ")); err != nil {
		return err
	}
	if err := on.put(r.Context(), place, KindTokens, t.ID, t); err != nil {
		return err
	}
	answer := a.tokenAnswer(t, place)
	answer.Token = text
	writeJSON(w, http.StatusCreated, answer)
	return nil
}

func (a *Access) newToken(on *opened, p Principal, q tokenRequest) (*token, Place, error) {
	if err := checkTokenName(q.Name); err != nil {
		return nil, "", err
	}
	if err := checkScopes(q.Scopes); err != nil {
		return nil, "", err
	}
	life, err := q.life()
	if err != nil {
		return nil, "", err
	}
	now := a.now().UTC().Truncate(time.Second)
	t := &token{Name: q.Name, Scopes: q.Scopes, Created: now, Expires: now.Add(life), By: p.Actor()}
	place := q.Place
	switch {
	case place != "" && place != Here && place != Network:
		return nil, "", invalid("place", "%.80q: must be \"island\" or \"network\"", string(place))
	case p.Source == Token && !a.administers(p):
		return nil, "", forbidden("a token can make no other token", "sign in, or use one with the scope administer")
	case len(q.Roles) > 0:
		t.Roles = q.Roles
		err = a.serviceToken(p, q)
	case p.Source == Password || p.Source == Token && p.Name != "token/"+p.Token:
		t.User = p.Name
		// Where the owner is, there the token is good.
		if _, owner, ownerErr := on.user(p.Name); place == "" {
			place, err = owner, ownerErr
		}
	case p.Source == OpenID:
		err = forbidden("people of an OpenID provider have no tokens of their own: nobody would hear when they are gone",
			"ask an admin for a service token, which has roles of its own")
	default:
		err = invalid("roles", "is empty: a token that is no user's needs roles, such as %s", quoted([]string{"viewer"}))
	}
	if place == "" {
		place = on.defaultPlace()
	}
	return t, place, err
}

func (a *Access) serviceToken(p Principal, q tokenRequest) error {
	if err := checkRoles(q.Roles); err != nil {
		return err
	}
	if !a.administers(p) {
		return forbidden("only admins make tokens with roles of their own", "leave roles out: the token then has your rights")
	}
	return nil
}

func (a *Access) revokeToken(w http.ResponseWriter, r *http.Request) error {
	on, err := a.current()
	if err != nil {
		return err
	}
	id := r.PathValue("id")
	if !tokenID.MatchString(id) {
		return missing("token", clip(id))
	}
	t, place, err := on.token(id)
	if err != nil {
		return err
	}
	p := From(r.Context())
	own := t != nil && (t.User != "" && t.User == p.Name && p.Source == Password || t.ID == p.Token)
	if t == nil || !own && !a.administers(p) {
		return missing("token", id)
	}
	if err := on.remove(r.Context(), place, KindTokens, id); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a *Access) removeTokensOf(ctx context.Context, on *opened, name string) error {
	owned, err := a.tokens(on, func(t *token) bool { return t.User == name })
	if err != nil {
		return err
	}
	for _, t := range owned {
		if err := on.remove(ctx, t.Place, KindTokens, t.ID); err != nil {
			return fmt.Errorf("remove token %s of user %s: %w", t.ID, name, err)
		}
	}
	return nil
}

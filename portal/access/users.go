package access

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"
)

// userAnswer is a user as the API shows it.
type userAnswer struct {
	Name     string    `json:"name"`
	Roles    []string  `json:"roles"`
	Place    Place     `json:"place"`
	Disabled bool      `json:"disabled"`
	Created  time.Time `json:"created"`
	Changed  time.Time `json:"changed"`
	By       string    `json:"by,omitempty"`
}

func (u *user) answer(place Place) userAnswer {
	return userAnswer{u.Name, u.Roles, place, u.Disabled, u.Created, u.Changed, u.By}
}

func (a *Access) listUsers(w http.ResponseWriter, _ *http.Request) error {
	on, err := a.current()
	if err != nil {
		return err
	}
	names, err := on.keys(KindUsers)
	if err != nil {
		return err
	}
	items := []userAnswer{}
	for _, name := range names {
		u, place, err := on.user(name)
		if err != nil {
			a.log.Warn("a user's record is left out", "user", name, "error", err)
			continue
		}
		if u != nil {
			items = append(items, u.answer(place))
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"items": items})
	return nil
}

// known finds the user that the path names.
func (a *Access) known(r *http.Request) (*opened, *user, Place, error) {
	on, err := a.current()
	if err != nil {
		return nil, nil, "", err
	}
	name := normal(r.PathValue("name"))
	u, place, err := on.user(name)
	if err == nil && u == nil {
		err = missing("user", name)
	}
	return on, u, place, err
}

func (a *Access) getUser(w http.ResponseWriter, r *http.Request) error {
	_, u, place, err := a.known(r)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, u.answer(place))
	return nil
}

func (a *Access) addUser(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Name     string   `json:"name"`
		Password string   `json:"password"`
		Roles    []string `json:"roles"`
		Place    Place    `json:"place"`
	}
	if err := read(w, r, &q); err != nil {
		return err
	}
	on, err := a.current()
	if err != nil {
		return err
	}
	if q.Place == "" {
		q.Place = on.defaultPlace()
	}
	if q.Place != Here && q.Place != Network {
		return invalid("place", "%.80q: must be \"island\" or \"network\"", string(q.Place))
	}
	u, err := a.newUser(r.Context(), on, normal(q.Name), q.Password, q.Roles, From(r.Context()).Actor())
	if err != nil {
		return err
	}
	if err := a.writeDown(r, "user-add", u.Name, strings.Join(u.Roles, ", ")); err != nil {
		return err
	}
	if err := on.put(r.Context(), q.Place, KindUsers, u.Name, u); err != nil {
		return err
	}
	a.setup.done(a)
	writeJSON(w, http.StatusCreated, u.answer(q.Place))
	return nil
}

// writeDown tells the audit log what the table of routes cannot: whom or what a
// request that is about to be carried out makes.
func (a *Access) writeDown(r *http.Request, action, subject, detail string) error {
	p := From(r.Context())
	if err := a.options.Log.Append(Entry{Actor: p.Actor(), Action: action, Subject: subject, Detail: detail + from(p)}); err != nil {
		return errNoAudit(err)
	}
	return nil
}

func (a *Access) newUser(ctx context.Context, on *opened, name, password string, roles []string, by string) (*user, error) {
	if err := checkName("name", name); err != nil {
		return nil, err
	}
	if err := checkRoles(roles); err != nil {
		return nil, err
	}
	if err := checkPassword(name, password); err != nil {
		return nil, err
	}
	switch other, _, err := on.user(name); {
	case err != nil:
		return nil, err
	case other != nil:
		return nil, &Error{Status: http.StatusConflict, Code: "exists", Field: "name", Message: "user \"" + name + "\" exists already", Remedy: "choose another name, or change that user"}
	}
	hash, err := a.hasher.hash(ctx, password)
	if err != nil {
		return nil, err
	}
	now := a.now().UTC()
	return &user{Name: name, Roles: roles, Password: hash, Stamp: newStamp(), Created: now, Changed: now, By: by}, nil
}

// changeUser sets what the request names and leaves the rest.
func (a *Access) changeUser(w http.ResponseWriter, r *http.Request) error {
	var q struct {
		Password *string  `json:"password"`
		Roles    []string `json:"roles"`
		Disabled *bool    `json:"disabled"`
	}
	if err := read(w, r, &q); err != nil {
		return err
	}
	on, u, place, err := a.known(r)
	if err != nil {
		return err
	}
	before := *u
	if q.Roles != nil {
		if err := checkRoles(q.Roles); err != nil {
			return err
		}
		u.Roles = q.Roles
	}
	if q.Disabled != nil {
		u.Disabled = *q.Disabled
	}
	if err := a.keepAnAdmin(on, &before, u); err != nil {
		return err
	}
	if q.Password != nil {
		if err := checkPassword(u.Name, *q.Password); err != nil {
			return err
		}
		if u.Password, err = a.hasher.hash(r.Context(), *q.Password); err != nil {
			return err
		}
	}
	if q.Password != nil || u.Disabled {
		u.Stamp = newStamp()
	}
	u.Changed, u.By = a.now().UTC(), From(r.Context()).Actor()
	if err := on.put(r.Context(), place, KindUsers, u.Name, u); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, u.answer(place))
	return nil
}

func (u *user) rules() bool { return u != nil && !u.Disabled && slices.Contains(u.Roles, "admin") }

// keepAnAdmin refuses what would leave nobody to undo it; after is nil for one
// who is removed. On the socket it can be done all the same.
func (a *Access) keepAnAdmin(on *opened, before, after *user) error {
	if !before.rules() || after.rules() {
		return nil
	}
	names, err := on.keys(KindUsers)
	if err != nil {
		return err
	}
	for _, name := range names {
		if other, _, err := on.user(name); err == nil && name != before.Name && other.rules() {
			return nil
		}
	}
	return &Error{Status: http.StatusConflict, Code: "last-admin", Message: "\"" + before.Name + "\" is the only admin", Remedy: "make another admin first"}
}

func (a *Access) removeUser(w http.ResponseWriter, r *http.Request) error {
	on, u, place, err := a.known(r)
	if err != nil {
		return err
	}
	if From(r.Context()).Source != Socket {
		if err := a.keepAnAdmin(on, u, nil); err != nil {
			return err
		}
	}
	if err := a.removeTokensOf(r.Context(), on, u.Name); err != nil {
		return err
	}
	if err := on.remove(r.Context(), place, KindUsers, u.Name); err != nil {
		return err
	}
	if err := on.sessions.endOf(u.Name, Password, ""); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

package access

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const (
	maxSessions     = 10_000
	maxUserSessions = 50
	// seenEvery is how often the time of the last use goes to disk.
	seenEvery = time.Minute
)

// session is somebody who signed in. It is kept under the hash of its ID, which
// only the browser knows.
type session struct {
	Name string `json:"name"`
	// Roles are set for people of an OpenID provider; those of others are looked up.
	Roles []string `json:"roles,omitempty"`
	// Stamp is the user's when they signed in.
	Stamp   string    `json:"stamp,omitempty"`
	Source  Source    `json:"source"`
	Addr    string    `json:"addr"`
	Created time.Time `json:"created"`
	Seen    time.Time `json:"seen"`
}

func (s *session) over(cfg Config, now time.Time) bool {
	return now.Sub(s.Seen) > time.Duration(cfg.SessionIdle) || now.Sub(s.Created) > time.Duration(cfg.SessionMax)
}

// sessions are all that are open, in memory and on disk.
type sessions struct {
	file *file

	mu    sync.Mutex
	all   map[string]*session
	dirty map[string]struct{} // of which Seen is newer than on disk
}

func loadSessions(f *file, cfg Config) (*sessions, error) {
	s := &sessions{file: f, all: map[string]*session{}, dirty: map[string]struct{}{}}
	stale := map[string]any{}
	err := f.each(bucketSessions, func(key string, text []byte) error {
		one := &session{}
		if err := json.Unmarshal(text, one); err != nil || one.over(cfg, time.Now()) {
			stale[key] = nil
			return nil
		}
		s.all[key] = one
		return nil
	})
	if err == nil && len(stale) > 0 {
		err = f.write(bucketSessions, stale)
	}
	if err != nil {
		return nil, fmt.Errorf("read sessions: %w", err)
	}
	return s, nil
}

func sessionKey(id string) string {
	sum := sha256.Sum256([]byte("atoll session\n" + id))
	return hex.EncodeToString(sum[:])
}

// csrfOf is what a page of ours proves itself with: it can ask for it, and no
// other site's page can read the answer.
func csrfOf(id string) string {
	sum := sha256.Sum256([]byte("atoll csrf\n" + id))
	return hex.EncodeToString(sum[:16])
}

func sameCSRF(id, got string) bool {
	return subtle.ConstantTimeCompare([]byte(csrfOf(id)), []byte(got)) == 1
}

// begin stores a new session and returns its ID. The oldest of the user's, or of
// all, end where there are too many.
func (s *sessions) begin(one session) (id string, err error) {
	id = random(32)
	s.mu.Lock()
	defer s.mu.Unlock()
	change := map[string]any{sessionKey(id): &one}
	for _, key := range s.surplus(one.Name) {
		change[key] = nil
	}
	if err := s.file.write(bucketSessions, change); err != nil {
		return "", err
	}
	for key, v := range change {
		if v == nil {
			delete(s.all, key)
		}
	}
	s.all[sessionKey(id)] = &one
	return id, nil
}

// surplus lists what must go for one more session of a user.
func (s *sessions) surplus(name string) []string {
	pick := func(max int, of func(*session) bool) []string {
		var keys []string
		for key, one := range s.all {
			if of(one) {
				keys = append(keys, key)
			}
		}
		slices.SortFunc(keys, func(a, b string) int {
			return cmp.Or(s.all[a].Seen.Compare(s.all[b].Seen), cmp.Compare(a, b))
		})
		return keys[:max0(len(keys)-max+1)]
	}
	return append(pick(maxUserSessions, func(one *session) bool { return one.Name == name }),
		pick(maxSessions, func(*session) bool { return true })...)
}

func max0(n int) int { return max(n, 0) }

// use returns the session of an ID and notes that it was used.
func (s *sessions) use(id string, cfg Config) (session, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, now := sessionKey(id), time.Now()
	one := s.all[key]
	if one == nil || one.over(cfg, now) {
		return session{}, false
	}
	if now.Sub(one.Seen) >= seenEvery {
		one.Seen = now
		s.dirty[key] = struct{}{}
	}
	return *one, true
}

// end removes one session by its ID.
func (s *sessions) end(id string) error {
	key := sessionKey(id)
	return s.drop(func(k string, _ *session) bool { return k == key })
}

// endOf removes all sessions of a user but the one of an ID.
func (s *sessions) endOf(name string, source Source, but string) error {
	kept := sessionKey(but)
	return s.drop(func(k string, one *session) bool { return one.Name == name && one.Source == source && k != kept })
}

func (s *sessions) drop(which func(string, *session) bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	gone := map[string]any{}
	for key, one := range s.all {
		if which(key, one) {
			gone[key] = nil
		}
	}
	if len(gone) == 0 {
		return nil
	}
	// Whatever the disk says, nobody goes on with them here.
	for key := range gone {
		delete(s.all, key)
		delete(s.dirty, key)
	}
	return s.file.write(bucketSessions, gone)
}

// flush ends what is over and writes down what was used.
func (s *sessions) flush(cfg Config) error {
	now := time.Now()
	if err := s.drop(func(_ string, one *session) bool { return one.over(cfg, now) }); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	used := map[string]any{}
	for key := range s.dirty {
		used[key] = s.all[key]
	}
	if len(used) == 0 {
		return nil
	}
	if err := s.file.write(bucketSessions, used); err != nil {
		return err
	}
	clear(s.dirty)
	return nil
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// cookieName differs between islands, for browsers do not tell the ports of one
// host apart. Under TLS its prefix has the browser refuse one that another host
// or a page without TLS wants to set.
func (a *Access) cookieName(r *http.Request) string {
	if r.TLS != nil {
		return "__Host-atoll_" + a.tag
	}
	return "atoll_" + a.tag
}

func (a *Access) setCookie(w http.ResponseWriter, r *http.Request, id string) {
	http.SetCookie(w, &http.Cookie{
		Name: a.cookieName(r), Value: id, Path: "/", MaxAge: int(time.Duration(a.config.SessionMax).Seconds()),
		HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

func (a *Access) clearCookie(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{
		Name: a.cookieName(r), Path: "/", MaxAge: -1, HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// cookie is the session's ID that the browser sent, or "".
func (a *Access) cookie(r *http.Request) string {
	c, err := r.Cookie(a.cookieName(r))
	if err != nil || len(c.Value) > 100 {
		return ""
	}
	return c.Value
}

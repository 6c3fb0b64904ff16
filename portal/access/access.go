package access

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/atoll-mesh/atoll/policy"
)

// Options is what island hands over.
type Options struct {
	Config Config
	// Dir is the data directory.
	Dir string
	// Island is the island's name; the cookie is named after it.
	Island string
	// Policy is the network's, nil without one. Where it does not speak of users,
	// the built-in text decides.
	Policy func() *policy.Set
	// Network returns the documents of the network, nil while there is none.
	Network func() Documents
	// Log takes and shows what was changed by whom.
	Log Log
	// URL is how people reach the island.
	URL func() string
	// Rules says what routes need that Rules does not know.
	Rules      map[string]Rule
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Access decides who may do what.
type Access struct {
	options Options
	config  Config
	log     *slog.Logger
	metrics *metrics
	rules   table
	builtIn *policy.Set
	tag     string
	hasher  *hasher
	limiter *limiter
	dropped *dropper
	setup   setup
	// provider is nil where no OpenID provider is configured.
	provider *provider
	now      func() time.Time

	on atomic.Pointer[opened]
}

// opened is what is there while the file is open.
type opened struct {
	shelf
	sessions *sessions
}

// New checks the options. It opens no file: until Open, whoever shows a cookie or
// a token is told to wait.
func New(opts Options) (*Access, error) {
	if err := opts.Config.Validate(); err != nil {
		return nil, err
	}
	if opts.Log == nil {
		return nil, errors.New("BUG: access.Options.Log is missing")
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Network == nil {
		opts.Network = func() Documents { return nil }
	}
	rules, err := newTable(opts.Rules)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(opts.Island))
	a := &Access{
		options: opts, config: opts.Config, log: opts.Logger, rules: rules, builtIn: policy.ParseUsers(),
		tag: hex.EncodeToString(sum[:4]), hasher: newHasher(), limiter: newLimiter(), now: time.Now,
	}
	a.dropped = &dropper{}
	if a.provider, err = newProvider(opts.Config.OIDC); err != nil {
		return nil, err
	}
	a.metrics, err = newMetrics(opts.Registerer, a)
	if err != nil {
		return nil, fmt.Errorf("register metrics of access: %w", err)
	}
	return a, nil
}

// Open opens the file of users and sessions.
func (a *Access) Open() error {
	f, err := openFile(filepath.Join(a.options.Dir, "portal", "access.db"))
	if err != nil {
		return err
	}
	all, err := loadSessions(f, a.config)
	if err != nil {
		return errors.Join(err, f.close())
	}
	a.on.Store(&opened{shelf: shelf{file: f, network: a.options.Network}, sessions: all})
	return nil
}

// Close closes the file; it is for one that is not run.
func (a *Access) Close() error {
	a.provider.close()
	on := a.on.Swap(nil)
	if on == nil {
		return nil
	}
	return errors.Join(on.sessions.flush(a.config), on.file.close())
}

// Run keeps sessions and the set-up code in order until ctx ends, and closes the file.
func (a *Access) Run(ctx context.Context) error {
	tick := time.NewTicker(seenEvery)
	defer tick.Stop()
	for {
		if err := a.tend(); err != nil {
			a.log.Error("tend users and sessions", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return a.Close()
		}
	}
}

func (a *Access) tend() error {
	on, err := a.current()
	if err != nil {
		return err
	}
	return errors.Join(on.sessions.flush(a.config), a.offerSetup())
}

var errStarting = &Error{
	Status: http.StatusServiceUnavailable, Code: "starting", Message: "the island is still starting, or stopping",
	Remedy: "try again in a moment", RetryAfter: time.Second,
}

func (a *Access) current() (*opened, error) {
	if on := a.on.Load(); on != nil {
		return on, nil
	}
	return nil, errStarting
}

// Routes are this package's own, by pattern of http.ServeMux. The socket serves
// them too, by way of AsSocket.
func (a *Access) Routes() map[string]http.Handler {
	return map[string]http.Handler{
		"GET " + apiPrefix + "session":         a.handler(a.getSession),
		"POST " + apiPrefix + "session":        a.handler(a.signIn),
		"DELETE " + apiPrefix + "session":      a.handler(a.signOut),
		"GET " + apiPrefix + "oidc/start":      a.handler(a.startOIDC),
		"GET " + callbackPath:                  a.handler(a.finishOIDC),
		"POST " + apiPrefix + "setup":          a.handler(a.setUp),
		"POST " + apiPrefix + "password":       a.handler(a.changePassword),
		"GET " + apiPrefix + "users":           a.handler(a.listUsers),
		"POST " + apiPrefix + "users":          a.handler(a.addUser),
		"GET " + apiPrefix + "users/{name}":    a.handler(a.getUser),
		"PUT " + apiPrefix + "users/{name}":    a.handler(a.changeUser),
		"DELETE " + apiPrefix + "users/{name}": a.handler(a.removeUser),
		"GET " + apiPrefix + "tokens":          a.handler(a.listTokens),
		"POST " + apiPrefix + "tokens":         a.handler(a.createToken),
		"DELETE " + apiPrefix + "tokens/{id}":  a.handler(a.revokeToken),
		"GET " + apiPrefix + "audit":           a.handler(a.listAudit),
	}
}

func (a *Access) handler(f func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f(w, r); err != nil {
			a.refuse(w, err)
		}
	})
}

// AsSocket serves h in the name of the island's own user, who may do everything.
func (a *Access) AsSocket(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p := Principal{Source: Socket, addr: "local"}
		r = r.WithContext(With(r.Context(), p))
		rule, what, _ := a.rules.find(r)
		a.audited(rule, what, p, h, w, r)
	})
}

package portal

import (
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"

	"github.com/atoll-mesh/atoll/portal/access"
	"github.com/atoll-mesh/atoll/portal/secure"
)

// zone says where a request came in and whether http.web_config has asked who it is.
func (p *Portal) zone(r *http.Request) access.Zone {
	addr, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	z := access.Zone{Loopback: addr != nil && secure.Loopback(addr)}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		z.Authenticated, z.User = true, r.TLS.VerifiedChains[0][0].Subject.CommonName
	}
	// The toolkit has let in nobody whose password is wrong.
	if name, _, ok := r.BasicAuth(); ok && p.people.asks() {
		z.Authenticated, z.User = true, name
	}
	return z
}

// webUsers knows whether the file http.web_config has users: then the toolkit, which
// reads it for each request, has asked for a password before a request gets here.
type webUsers struct {
	path string

	mu      sync.Mutex
	changed time.Time
	size    int64
	has     bool
}

func (u *webUsers) asks() bool {
	if u.path == "" {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	info, err := os.Stat(u.path)
	if err != nil {
		return false
	}
	if info.ModTime().Equal(u.changed) && info.Size() == u.size {
		return u.has
	}
	var c web.Config
	text, err := os.ReadFile(u.path)
	u.has = err == nil && yaml.Unmarshal(text, &c) == nil && len(c.Users) > 0
	u.changed, u.size = info.ModTime(), info.Size()
	return u.has
}

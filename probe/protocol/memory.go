package protocol

import (
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/common/config"
)

// Memory is what probes of one vantage may remember from one to the next, so as not
// to read the same files and ask the same authorities each second. It is for
// concurrent use; a nil one remembers nothing.
type Memory struct {
	mu      sync.Mutex
	configs map[*config.TLSConfig]rememberedConfig
	answers map[string]revocation
}

type rememberedConfig struct {
	config *tls.Config
	until  time.Time // zero for ever
}

// Bounds of what is remembered. Files are read anew now and then: certificates are
// rotated under the same name.
const (
	maxConfigs  = 4096
	maxAnswers  = 4096
	filesFresh  = 30 * time.Second
	askAgain    = 5 * time.Minute // where no answer came, or one without an end
	longestRest = 24 * time.Hour
)

// ClientTLS is what cfg says, for Handshake; cfg is a module's and not changed as
// long as the module lives.
func ClientTLS(req *Request, cfg *config.TLSConfig) (*tls.Config, error) {
	m := req.Memory
	now := time.Now()
	if m != nil {
		m.mu.Lock()
		got, ok := m.configs[cfg]
		m.mu.Unlock()
		if ok && (got.until.IsZero() || now.Before(got.until)) {
			return got.config, nil
		}
	}
	made, err := config.NewTLSConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("read tls_config: %w", err)
	}
	if m == nil {
		return made, nil
	}
	remember := rememberedConfig{config: made}
	if cfg.CAFile != "" || cfg.CertFile != "" || cfg.KeyFile != "" {
		remember.until = now.Add(filesFresh)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.configs == nil || len(m.configs) >= maxConfigs {
		m.configs = map[*config.TLSConfig]rememberedConfig{}
	}
	m.configs[cfg] = remember
	return made, nil
}

func (m *Memory) answer(key string, now time.Time) (revocation, bool) {
	if m == nil {
		return revocation{}, false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	got, ok := m.answers[key]
	return got, ok && now.Before(got.until)
}

func (m *Memory) keep(key string, a revocation) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.answers == nil || len(m.answers) >= maxAnswers {
		m.answers = map[string]revocation{}
	}
	m.answers[key] = a
}

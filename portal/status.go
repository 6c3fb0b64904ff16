package portal

import (
	"fmt"
	"time"

	"github.com/atoll-mesh/atoll/health"
	"github.com/atoll-mesh/atoll/portal/secure"
)

// Status is what GET /api/atoll/v1/status answers: how one island is. Times are
// RFC 3339, durations and sizes carry their unit in the name.
type Status struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`

	Version       Version   `json:"version"`
	StartedAt     time.Time `json:"started_at"`
	UptimeSeconds float64   `json:"uptime_seconds"`
	// Ready is true once the island answers queries over all of its own data.
	Ready bool `json:"ready"`

	Config ConfigStatus `json:"config"`
	// Rooms are in start order.
	Rooms []RoomStatus `json:"rooms"`
	// Addresses are host:port, as bound; the portal fills them in.
	Addresses   []string `json:"addresses"`
	ExternalURL string   `json:"external_url,omitempty"`
	// TLS is nil where all addresses are plain, or http.web_config has the certificate.
	TLS     *secure.Status `json:"tls,omitempty"`
	DataDir string         `json:"data_dir"`

	// Network is nil while the island belongs to none.
	Network *NetworkStatus `json:"network,omitempty"`

	// HeadSeries is the number of series in memory.
	HeadSeries uint64 `json:"head_series"`
	// SamplesPerSecond is the rate of samples stored, over the last minute or less.
	SamplesPerSecond float64        `json:"samples_per_second"`
	Budgets          []BudgetStatus `json:"budgets"`
}

// NetworkStatus says which network of islands this one belongs to.
type NetworkStatus struct {
	Name string `json:"name"`
	ID   string `json:"id"`
	// Members counts this island too; Connected the others that are reached now.
	Members   int `json:"members"`
	Connected int `json:"connected"`
}

// text is what people read; n may be nil.
func (n *NetworkStatus) text() string {
	switch {
	case n == nil:
		return "belongs to no network; `atoll init` makes one, `atoll join TOKEN` joins one"
	case n.Members < 2:
		return n.Name + ", with no other island yet; `atoll invite` prints the token for one"
	}
	return fmt.Sprintf("%s, %d members, connected with %d of %d others", n.Name, n.Members, n.Connected, n.Members-1)
}

// Version says which build runs.
type Version struct {
	Version   string `json:"version"`
	Revision  string `json:"revision,omitempty"`
	GoVersion string `json:"go_version,omitempty"`
}

// ConfigStatus says which configuration runs.
type ConfigStatus struct {
	// File is empty when the island runs on defaults.
	File string `json:"file"`
	// LoadedAt is when the running configuration was taken over.
	LoadedAt time.Time `json:"loaded_at"`
	// LastReload is the newest attempt to load another; nil if there was none.
	LastReload *ReloadResult `json:"last_reload,omitempty"`
}

// ReloadResult is the outcome of one attempt to reload.
type ReloadResult struct {
	At time.Time `json:"at"`
	OK bool      `json:"ok"`
	// Error is the full text; then the configuration from before runs on.
	Error string `json:"error,omitempty"`
}

// RoomState is where a room stands in its life.
type RoomState string

// The states a room goes through.
const (
	RoomStarting RoomState = "starting"
	RoomRunning  RoomState = "running"
	RoomStopping RoomState = "stopping"
	RoomStopped  RoomState = "stopped"
	RoomFailed   RoomState = "failed"
)

// RoomStatus is one room of the island.
type RoomStatus struct {
	Name  string    `json:"name"`
	State RoomState `json:"state"`
	// Since is when the state began.
	Since time.Time `json:"since"`
	Error string    `json:"error,omitempty"`
}

// BudgetStatus is one limit and how much of it is used, in Unit.
type BudgetStatus struct {
	Name string `json:"name"`
	// Unit is "bytes", "cores", "series" or another plural noun.
	Unit string  `json:"unit"`
	Used float64 `json:"used"`
	// Limit is 0 when there is none.
	Limit float64 `json:"limit"`
}

// HealthAnswer is what GET /api/atoll/v1/health answers.
type HealthAnswer struct {
	// Worst is the highest severity that holds, or "" when nothing is wrong.
	Worst health.Severity `json:"worst"`
	// Active is what is wrong now, the most severe first, then the oldest.
	Active []health.Active `json:"active"`
}

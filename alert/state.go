package alert

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	amalert "github.com/prometheus/alertmanager/alert"
	"github.com/prometheus/alertmanager/provider"
	"github.com/prometheus/common/model"

	"github.com/atoll-mesh/atoll/flow/durable"
	"github.com/atoll-mesh/atoll/health"
)

// The files in Dir. The first two are in Alertmanager's own format, so that an
// existing data directory can be moved in, or out.
const (
	fileSilences = "silences"
	fileNflog    = "nflog"
	fileAlerts   = "alerts.json"
)

// stateDir reads and writes the state files.
type stateDir struct {
	path    string
	logger  *slog.Logger
	metrics *metrics
	failing *health.Handle
	damaged *health.Handle

	mu      sync.Mutex
	written map[string][sha256.Size]byte
	errs    map[string]error
}

func newStateDir(path string, logger *slog.Logger, m *metrics, h *health.List) *stateDir {
	return &stateDir{
		path: path, logger: logger, metrics: m,
		failing: h.Declare(health.Warning{
			Code:     "alert-snapshot-failing",
			Severity: health.SeverityCritical,
			Title:    "silences, sent notifications or alerts cannot be written to disk",
			Remedy:   "Free space on the disk or make the directory writable; until then a restart forgets what changed.",
		}),
		damaged: h.Declare(health.Warning{
			Code:     "alert-state-damaged",
			Severity: health.SeverityWarning,
			Title:    "a state file could not be read and was put aside",
			Remedy:   "Look at the silences in force: those of the damaged file are gone, and alerts may be notified again. Delete the file put aside.",
		}),
		written: map[string][sha256.Size]byte{},
		errs:    map[string]error{},
	}
}

// read returns a file's content; nil if there is none.
func (d *stateDir) read(name string) ([]byte, error) {
	content, err := os.ReadFile(filepath.Join(d.path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading alert state: %w: make the file readable for the user the island runs as", err)
	}
	return content, nil
}

// putAside renames a file that could not be understood. An island that starts
// without its silences is noisy; one that does not start is silent.
func (d *stateDir) putAside(name string, cause error) error {
	from := filepath.Join(d.path, name)
	to := from + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("putting damaged alert state aside: %w", err)
	}
	d.logger.Error("state file is damaged, starting without it", "file", from, "kept_as", to, "err", cause)
	d.damaged.Set("%s (kept as %s): %v", from, to, cause)
	return nil
}

// write replaces a file unless identity is the one it was last written with.
// It returns the size of content, as the maintenance loops want it.
func (d *stateDir) write(name string, identity, content []byte) (int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.metrics.snapshotBytes.WithLabelValues(name).Set(float64(len(content)))
	sum := sha256.Sum256(identity)
	if old, ok := d.written[name]; ok && old == sum && d.errs[name] == nil {
		d.metrics.snapshots.WithLabelValues(name, "unchanged").Inc()
		return int64(len(content)), nil
	}
	err := durable.Write(filepath.Join(d.path, name), 0o600, content)
	d.reportLocked(name, err)
	if err != nil {
		return 0, err
	}
	d.written[name] = sum
	return int64(len(content)), nil
}

func (d *stateDir) reportLocked(name string, err error) {
	d.errs[name] = err
	if err != nil {
		d.metrics.snapshots.WithLabelValues(name, "failed").Inc()
		d.failing.Set("%s: %v", filepath.Join(d.path, name), err)
		return
	}
	d.metrics.snapshots.WithLabelValues(name, "ok").Inc()
	for _, other := range d.errs {
		if other != nil {
			return
		}
	}
	d.failing.Clear()
}

// snapshotter is what silences and the notification log have in common.
type snapshotter interface {
	GC() (int, error)
	Snapshot(io.Writer) (int64, error)
}

// maintain returns the function that both Maintenance loops call: forget what
// is past retention, write what is left.
func (d *stateDir) maintain(name string, s snapshotter) func() (int64, error) {
	return func() (int64, error) {
		if _, err := s.GC(); err != nil {
			// What cannot be collected is still worth keeping.
			d.logger.Warn("collecting expired state", "state", name, "err", err)
		}
		var buf bytes.Buffer
		if _, err := s.Snapshot(&buf); err != nil {
			return 0, fmt.Errorf("encoding %s: %w", name, err)
		}
		return d.write(name, unordered(buf.Bytes()), buf.Bytes())
	}
}

// unordered identifies a snapshot whatever the order of its entries, which is
// that of a Go map: each is a length (a varint) and as many bytes.
func unordered(content []byte) []byte {
	var entries [][]byte
	for rest := content; len(rest) > 0; {
		size, n := binary.Uvarint(rest)
		if n <= 0 || size > uint64(len(rest)-n) {
			return content
		}
		end := n + int(size)
		entries, rest = append(entries, rest[:end]), rest[end:]
	}
	slices.SortFunc(entries, bytes.Compare)
	return bytes.Join(entries, nil)
}

// savedAlert is one alert in alerts.json.
type savedAlert struct {
	Labels       model.LabelSet `json:"labels"`
	Annotations  model.LabelSet `json:"annotations,omitempty"`
	StartsAt     time.Time      `json:"startsAt"`
	EndsAt       time.Time      `json:"endsAt"`
	UpdatedAt    time.Time      `json:"updatedAt"`
	GeneratorURL string         `json:"generatorURL,omitempty"`
	Timeout      bool           `json:"timeout,omitempty"`
	// Firing says that it had not ended when it was saved.
	Firing bool `json:"firing"`
}

// saveAlerts writes the alerts, the ended ones that still wait for their last
// notification included. Alertmanager does not: it can count on senders that
// outlive it. Rules here restart together with their receiver, and what ends
// while nobody looks would stay open for ever at the other end. Those that are
// kept elsewhere, which is in documents, are left out.
func (d *stateDir) saveAlerts(alerts provider.Alerts, elsewhere func(model.LabelSet) bool, now time.Time) (int64, error) {
	it := alerts.GetPending()
	defer it.Close()
	saved := []savedAlert{}
	for a := range it.Next() {
		if elsewhere(a.Data.Labels) {
			continue
		}
		saved = append(saved, savedAlert{
			Labels: a.Data.Labels, Annotations: a.Data.Annotations,
			StartsAt: a.Data.StartsAt, EndsAt: a.Data.EndsAt, UpdatedAt: a.Data.UpdatedAt,
			GeneratorURL: a.Data.GeneratorURL, Timeout: a.Data.Timeout,
			Firing: !a.Data.ResolvedAt(now),
		})
	}
	slices.SortFunc(saved, func(a, b savedAlert) int {
		if a.Labels.Before(b.Labels) {
			return -1
		}
		return 1
	})
	content, err := json.Marshal(saved)
	if err != nil {
		return 0, fmt.Errorf("encoding %s: %w", fileAlerts, err)
	}
	// An alert that fires on is sent again every minute with later times only.
	for i := range saved {
		if saved[i].Firing {
			saved[i].EndsAt, saved[i].UpdatedAt = time.Time{}, time.Time{}
		}
	}
	identity, err := json.Marshal(saved)
	if err != nil {
		return 0, fmt.Errorf("encoding %s: %w", fileAlerts, err)
	}
	return d.write(fileAlerts, identity, content)
}

// loadAlerts returns what saveAlerts wrote.
func (d *stateDir) loadAlerts() ([]savedAlert, error) {
	content, err := d.read(fileAlerts)
	if err != nil || content == nil {
		return nil, err
	}
	var saved []savedAlert
	if err := json.Unmarshal(content, &saved); err != nil {
		return nil, d.putAside(fileAlerts, err)
	}
	return saved, nil
}

// revive returns the alert as it is now. If it fired at the end of the last run
// it goes on until the time that rules need to say whether it still does; one
// that was over stays over, to be announced if that was not done yet.
func (s savedAlert) revive(now, until time.Time) *amalert.Alert {
	a := &amalert.Alert{UpdatedAt: s.UpdatedAt, Timeout: s.Timeout}
	a.Labels, a.Annotations = s.Labels, s.Annotations
	a.StartsAt, a.EndsAt = s.StartsAt, s.EndsAt
	a.GeneratorURL = s.GeneratorURL
	if s.Firing && a.EndsAt.Before(until) {
		a.EndsAt, a.Timeout, a.UpdatedAt = until, true, now
	}
	return a
}

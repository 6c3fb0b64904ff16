package mesh

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/mesh"
	"github.com/atoll-mesh/atoll/mesh/control"
	"github.com/atoll-mesh/atoll/portal"
	"github.com/atoll-mesh/atoll/replica"
	"github.com/atoll-mesh/atoll/trust"
)

func (s *site) client() *control.Client { return control.NewClient(s.data()) }

func ask[T any](s *site, what string) (T, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return control.Ask[T](ctx, s.client(), what)
}

func (s *site) network() (control.NetworkStatus, error) {
	return ask[control.NetworkStatus](s, "network")
}

// identity is network for an island that must be a member.
func (s *site) identity() control.NetworkStatus {
	s.t.Helper()
	n, err := s.network()
	if err != nil {
		s.t.Fatal(err)
	}
	if !n.Joined {
		s.t.Fatalf("%s belongs to no network", s.name)
	}
	return n
}

func (s *site) peers() (map[string]mesh.PeerStatus, error) {
	list, err := ask[[]mesh.PeerStatus](s, "peers")
	byName := make(map[string]mesh.PeerStatus, len(list))
	for _, p := range list {
		byName[p.Name] = p
	}
	return byName, err
}

// ping reaches out to another island, for at most a while.
func (s *site) ping(to string, within time.Duration) (control.PingResult, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return control.Act[control.PingRequest, control.PingResult](ctx, s.client(), "ping", control.PingRequest{Name: to})
}

// api asks the island's socket for JSON.
func (s *site) api(path string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	resp, err := s.client().Do(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return json.NewDecoder(resp.Body).Decode(into)
}

func (s *site) replica() (st replica.Status, err error) {
	return st, s.api("/api/atoll/v1/replica", &st)
}

// document is one version as the API shows it.
type document struct {
	Key     string `json:"key"`
	Value   string `json:"value"`
	Deleted bool   `json:"deleted"`
	Author  string `json:"author"`
	Time    uint64 `json:"time,string"`
}

// value is the text of a document, "" where there is none.
func (s *site) value(key string) (string, error) {
	var d document
	err := s.api("/api/atoll/v1/documents/"+key, &d)
	var no *control.Refusal
	if errors.As(err, &no) && no.Status == http.StatusNotFound || d.Deleted {
		return "", nil
	}
	return d.Value, err
}

// documents lists what is there and not deleted; their text is not in it.
func (s *site) documents(prefix string) (map[string]document, error) {
	var answer struct {
		Documents []document `json:"documents"`
	}
	err := s.api("/api/atoll/v1/documents?prefix="+prefix, &answer)
	byKey := map[string]document{}
	for _, d := range answer.Documents {
		if !d.Deleted {
			byKey[d.Key] = d
		}
	}
	return byKey, err
}

func (s *site) history(key string) ([]document, error) {
	var answer struct {
		Versions []document `json:"versions"`
	}
	err := s.api("/api/atoll/v1/documents/"+key+"/history", &answer)
	return answer.Versions, err
}

func (s *site) set(key, value string) {
	s.t.Helper()
	s.mustWith(value, "set", key, "-f", "-")
}

// port asks the island's HTTP port, which is on the loopback of its host.
func (s *site) port(path string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://127.0.0.1:59080"+path, nil)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DialContext: s.node.Dial, DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s on %s: %s: %s", path, s.name, resp.Status, body)
	}
	return body, err
}

// health is what the island says is wrong with it.
func (s *site) health() (h portal.HealthAnswer, err error) {
	body, err := s.port("/api/atoll/v1/health")
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(body, &h); err != nil {
		return h, fmt.Errorf("%w: %s", err, body)
	}
	return h, nil
}

// warnings are the codes of what the island says is wrong with it.
func (s *site) warnings() ([]string, error) {
	h, err := s.health()
	var codes []string
	for _, a := range h.Active {
		codes = append(codes, a.Code)
	}
	return codes, err
}

// metric sums the series of a name whose labels contain all of these, as `x="y"`.
func (s *site) metric(name string, labels ...string) (float64, error) {
	body, err := s.port("/metrics")
	if err != nil {
		return 0, err
	}
	sum, found := 0.0, false
	for lines := bufio.NewScanner(strings.NewReader(string(body))); lines.Scan(); {
		line := lines.Text()
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' ||
			slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return 0, err
		}
		sum, found = sum+v, true
	}
	if !found && len(labels) == 0 {
		return 0, fmt.Errorf("%s has no metric %s", s.name, name)
	}
	return sum, nil
}

// nodeKey is the island's key, as somebody has it who stole its disk.
func (s *site) nodeKey() trust.PrivateKey {
	s.t.Helper()
	home, err := trust.OpenHome(filepath.Join(s.data(), "mesh"))
	if err != nil {
		s.t.Fatal(err)
	}
	return home.Node()
}

// resident is the process' memory in bytes, and how many descriptors it holds.
func (s *site) resident() (bytes int64, descriptors int, err error) {
	proc := fmt.Sprintf("/proc/%d", s.cmd.Process.Pid)
	statm, err := os.ReadFile(proc + "/statm")
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(statm))
	if len(fields) < 2 {
		return 0, 0, errors.New("statm is short: " + string(statm))
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0, 0, err
	}
	open, err := os.ReadDir(proc + "/fd")
	return pages * int64(os.Getpagesize()), len(open), err
}

// connected waits until from is connected to all others, whatever the path.
func connected(t *testing.T, from *site, to ...*site) {
	t.Helper()
	for _, s := range to {
		onPath(t, time.Minute, from, s, "")
	}
}

// meshed waits until each is connected to each.
func meshed(t *testing.T, sites ...*site) {
	t.Helper()
	for _, from := range sites {
		for _, to := range sites {
			if to != from {
				onPath(t, time.Minute, from, to, "")
			}
		}
	}
}

// onPath waits until from is connected to another site by the path, "" for any.
func onPath(t *testing.T, within time.Duration, from, to *site, path string) {
	t.Helper()
	eventually(t, within, fmt.Sprintf("%s is connected to %s %s", from.name, to.name, path), func() error {
		peers, err := from.peers()
		if err != nil {
			return err
		}
		p, ok := peers[to.name]
		if !ok {
			return fmt.Errorf("%s is not in the roster", to.name)
		}
		if p.State != mesh.StateConnected || path != "" && p.Path != path {
			return fmt.Errorf("%s", show(p))
		}
		return nil
	})
}

// alike waits until all hold the same documents.
func alike(t *testing.T, within time.Duration, sites ...*site) time.Duration {
	t.Helper()
	return eventually(t, within, "all hold the same documents", func() error {
		first := ""
		for _, s := range sites {
			st, err := s.replica()
			if err != nil {
				return err
			}
			if first == "" {
				first = st.Root
			}
			if st.Root != first {
				return fmt.Errorf("%s holds %s, %s %s", sites[0].name, first, s.name, st.Root)
			}
		}
		return nil
	})
}

func show(v any) string {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// holds is nil if a site has a document with that text; "" stands for none.
func holds(s *site, key, want string) error {
	got, err := s.value(key)
	if err == nil && got != want {
		err = fmt.Errorf("%s on %s is %q, want %q", key, s.name, got, want)
	}
	return err
}

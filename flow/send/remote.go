package send

import (
	"errors"
	"fmt"
	"strconv"

	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/labels"
	"go.yaml.in/yaml/v2"

	"github.com/atoll-mesh/atoll/flow/send/request"
)

// maxShards keeps the shard positions of a cursor within one slot of its file.
const maxShards = 256

// spec is one remote_write entry, checked and ready to run.
type spec struct {
	// key names the cursor's files: a hash of what makes the remote this remote.
	key string
	// hash tells whether anything but secrets and files behind them changed.
	hash     string
	name     string
	config   *promconfig.RemoteWriteConfig
	external labels.Labels
	client   *request.Client
	// start is where a remote without a cursor begins.
	start position
}

func (s *spec) v2() bool { return request.V2(s.config) }

// buildSpecs checks every remote_write entry and builds its client.
func buildSpecs(cfg *promconfig.Config) ([]*spec, error) {
	var (
		specs []*spec
		errs  []error
		keys  = map[string]int{}
		seen  = map[string]bool{}
	)
	for i, rw := range cfg.RemoteWriteConfigs {
		s, err := buildSpec(rw, cfg.GlobalConfig.ExternalLabels)
		if err != nil {
			errs = append(errs, fmt.Errorf("remote_write[%d] (%s): %w", i, redacted(rw), err))
			continue
		}
		if seen[s.hash] {
			errs = append(errs, fmt.Errorf("remote_write[%d] (%s): the same entry stands twice; remove one", i, redacted(rw)))
			continue
		}
		seen[s.hash] = true
		// Entries to one URL with the same headers are told apart by their place.
		if n := keys[s.key]; n > 0 {
			keys[s.key]++
			s.key += "-" + strconv.Itoa(n)
		} else {
			keys[s.key] = 1
		}
		specs = append(specs, s)
	}
	if err := errors.Join(errs...); err != nil {
		closeIdle(specs)
		return nil, err
	}
	return specs, nil
}

func redacted(rw *promconfig.RemoteWriteConfig) string {
	if rw.URL == nil {
		return "no url"
	}
	return rw.URL.Redacted()
}

func buildSpec(rw *promconfig.RemoteWriteConfig, external labels.Labels) (*spec, error) {
	if rw.URL == nil {
		return nil, errors.New("url is missing; give the receiver's write URL")
	}
	if rw.ConvertNHCBToClassic {
		return nil, errors.New("convert_nhcb_to_classic: true is not supported; send native histograms (send_native_histograms with protobuf_message io.prometheus.write.v2.Request), or scrape classic ones")
	}
	text, err := yaml.Marshal(rw)
	if err != nil {
		return nil, fmt.Errorf("hash the configuration: %w", err)
	}
	s := &spec{
		key:      request.Identity(rw),
		hash:     request.Digest(string(text) + "\n" + rw.URL.String() + "\n" + external.String()),
		name:     rw.Name,
		config:   rw,
		external: external,
	}
	if s.name == "" {
		s.name = s.hash[:6]
	}
	s.client, err = request.NewClient(s.name, rw)
	return s, err
}

func closeIdle(specs []*spec) {
	for _, s := range specs {
		s.client.CloseIdleConnections()
	}
}

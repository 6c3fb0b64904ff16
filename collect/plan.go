package collect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"reflect"
	"slices"

	config_util "github.com/prometheus/common/config"
	promconfig "github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery"
)

// plan is a configuration turned into what the managers take. It is made in
// full before anything running is touched.
type plan struct {
	config Config
	// scrape is a copy of the user's document with the limits and the built-in
	// jobs added; the user's own is never written to.
	scrape *promconfig.Config
	// sd is what each job discovers.
	sd map[string]discovery.Configs
	// faults are jobs that cannot work as configured.
	faults []fault
	// shadowed are the built-in jobs that the user replaced.
	shadowed []string
}

// fault is something about a job that fails on this machine, now.
type fault struct {
	job string
	err error
	// cause is the piece of configuration that is at fault; what was at fault
	// already is no reason to refuse a reload.
	cause any
	// absent tells that the job cannot be handed to upstream at all.
	absent bool
}

// makePlan returns an error only for what no machine could run.
func (c *Collector) makePlan(cfg Config, prom *promconfig.Config) (*plan, error) {
	jobs, err := prom.GetScrapeConfigs()
	if err != nil {
		return nil, fmt.Errorf("reading scrape_configs and scrape_config_files: %w", err)
	}
	p := &plan{config: cfg, sd: map[string]discovery.Configs{}}
	shallow := *prom
	p.scrape = &shallow
	p.scrape.ScrapeConfigs = nil
	p.scrape.ScrapeConfigFiles = nil // their jobs are in the list now

	taken := map[string]bool{}
	for _, sc := range jobs {
		taken[sc.JobName] = true
		absent := false
		for _, f := range c.check(sc) {
			p.faults = append(p.faults, f)
			absent = absent || f.absent
		}
		if !absent {
			p.add(c.limited(cfg, sc))
		}
	}
	for _, j := range jobsOf(cfg) {
		switch {
		case !j.enabled:
			c.logger.Debug("built-in job is off", "job", j.name)
		case taken[j.name]:
			p.shadowed = append(p.shadowed, j.name)
		default:
			sc, err := c.builtins.scrapeConfig(j, prom.GlobalConfig)
			if err != nil {
				return nil, err
			}
			p.add(sc)
		}
	}
	return p, nil
}

func (p *plan) add(sc *promconfig.ScrapeConfig) {
	p.scrape.ScrapeConfigs = append(p.scrape.ScrapeConfigs, sc)
	p.sd[sc.JobName] = sc.ServiceDiscoveryConfigs
}

// refuse returns the faults that the running plan has not.
func (p *plan) refuse(running *plan) error {
	var errs []error
	for _, f := range p.faults {
		known := running != nil && slices.ContainsFunc(running.faults, func(r fault) bool {
			return r.job == f.job && r.err.Error() == f.err.Error() && reflect.DeepEqual(r.cause, f.cause)
		})
		if !known {
			errs = append(errs, fmt.Errorf("job %q: %w", f.job, f.err))
		}
	}
	return errors.Join(errs...)
}

// check tries what upstream would do with a job, without starting anything.
func (c *Collector) check(sc *promconfig.ScrapeConfig) []fault {
	var faults []fault
	client, err := config_util.NewClientFromConfig(sc.HTTPClientConfig, sc.JobName)
	if err != nil {
		faults = append(faults, fault{job: sc.JobName, err: fmt.Errorf("making its HTTP client: %w", err), cause: sc.HTTPClientConfig, absent: true})
	} else {
		client.CloseIdleConnections()
	}
	for _, s := range secretFiles(sc.HTTPClientConfig) {
		if err := readable(s.path); err != nil {
			faults = append(faults, fault{job: sc.JobName, err: fmt.Errorf("%s: %w", s.field, err), cause: sc.HTTPClientConfig})
		}
	}
	if err := appendable(sc.ScrapeFailureLogFile); err != nil {
		faults = append(faults, fault{job: sc.JobName, err: fmt.Errorf("scrape_failure_log_file: %w", err), cause: sc.ScrapeFailureLogFile, absent: true})
	}
	for _, d := range sc.ServiceDiscoveryConfigs {
		if err := c.tryDiscovery(sc.JobName, d); err != nil {
			faults = append(faults, fault{job: sc.JobName, err: fmt.Errorf("making its %s discovery: %w", d.Name(), err), cause: d})
		}
	}
	return faults
}

// tryDiscovery makes a discoverer and drops it. ZooKeeper's connect when they
// are made, and cannot be tried.
func (c *Collector) tryDiscovery(job string, d discovery.Config) error {
	switch d.Name() {
	case "serverset", "nerve", "static":
		return nil
	}
	_, err := d.NewDiscoverer(discovery.DiscovererOptions{
		Logger:  slog.New(slog.DiscardHandler),
		Metrics: c.sdMetrics.MechanismMetrics[d.Name()],
		SetName: job,
	})
	return err
}

type secretFile struct{ field, path string }

// secretFiles lists the files that upstream reads only when it sends a request.
func secretFiles(h config_util.HTTPClientConfig) []secretFile {
	files := []secretFile{{"bearer_token_file", h.BearerTokenFile}}
	if a := h.Authorization; a != nil {
		files = append(files, secretFile{"authorization.credentials_file", a.CredentialsFile})
	}
	if b := h.BasicAuth; b != nil {
		files = append(files, secretFile{"basic_auth.username_file", b.UsernameFile}, secretFile{"basic_auth.password_file", b.PasswordFile})
	}
	if o := h.OAuth2; o != nil {
		files = append(files, secretFile{"oauth2.client_secret_file", o.ClientSecretFile})
	}
	if h.HTTPHeaders != nil {
		for name, header := range h.HTTPHeaders.Headers {
			for _, f := range header.Files {
				files = append(files, secretFile{"http_headers." + name + ".files", f})
			}
		}
	}
	files = slices.DeleteFunc(files, func(f secretFile) bool { return f.path == "" })
	slices.SortFunc(files, func(a, b secretFile) int { return cmp.Compare(a.field+a.path, b.field+b.path) })
	return files
}

func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return f.Close()
}

// appendable opens a log file as upstream will. One that was not there before
// is taken away again, should the plan be discarded.
func appendable(path string) error {
	if path == "" {
		return nil
	}
	_, statErr := os.Stat(path)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if errors.Is(statErr, fs.ErrNotExist) {
		return errors.Join(f.Close(), os.Remove(path))
	}
	return f.Close()
}

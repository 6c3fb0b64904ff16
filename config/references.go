package config

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/exporter-toolkit/web"
	promconfig "github.com/prometheus/prometheus/config"
	"go.yaml.in/yaml/v3"

	"github.com/atoll-mesh/atoll/decode"
	"github.com/atoll-mesh/atoll/flow"
	"github.com/atoll-mesh/atoll/portal/secure"
)

// leaves looks at the files that single values name: certificates and secrets.
// They are not watched, because their users read them again by themselves.
func (l *loader) leaves(src source, scalars []decode.Scalar) {
	for _, s := range scalars {
		if s.Node.Value == "" || !s.Field || !namesInput(s.Key) || strings.Contains(s.Node.Value, "{{") {
			continue
		}
		path := src.join(s.Node.Value)
		if _, err := os.Stat(path); err != nil {
			report := l.warn
			if l.strict {
				report = l.add
			}
			report(src, s.Node, s.Path, "open %q: %s", path, reason(err))
		}
	}
}

// namesInput reports whether a key holds the path of a file that is read. Logs
// are written, so they may be missing.
func namesInput(key string) bool {
	return strings.HasSuffix(key, "_file") && !strings.HasSuffix(key, "log_file")
}

// scrapeFiles checks every file that scrape_config_files matches.
func (l *loader) scrapeFiles(src source, n *yaml.Node, cfg *promconfig.Config) {
	_, list := decode.Get(n, "scrape_config_files")
	_, global := decode.Get(n, "global")
	jobs := map[string]string{}
	for _, s := range cfg.ScrapeConfigs {
		jobs[s.JobName] = src.file
	}
	l.globs(src, list, "scrape_config_files", "scrape configurations", func(file source, content []byte) {
		root := l.parse(file, content)
		if root == nil {
			return
		}
		checker := prometheusChecker()
		r := checker.Structure(root, reflect.TypeFor[promconfig.ScrapeConfigs](), "")
		l.problems(file.file, checker.Problems())
		if r.Node == nil {
			return
		}
		l.repeatedNames(file, root)
		l.leaves(file, checker.Scalars())
		p := parts{l: l, src: file, r: r}
		p.dropRepeated()
		_, items := decode.Get(r.Node, "scrape_configs")
		if items == nil {
			return
		}
		p.part(global, []string{"scrape_configs"}, items)
		for i, item := range items.Content {
			if _, job := decode.Get(item, "job_name"); job != nil {
				if other, ok := jobs[job.Value]; ok && other != file.file {
					l.add(file, job, decode.Item("scrape_configs", item, i)+".job_name", "%s is taken by a scrape configuration in %s; every job_name is used once", decode.Quote(job.Value), other)
				}
				jobs[job.Value] = file.file
			}
		}
	})
}

// webConfig checks the file behind http.web_config.
func (l *loader) webConfig(src source, root *yaml.Node, c *Config) {
	n, exact := decode.At(root, "http.web_config")
	if !exact || n.Kind != yaml.ScalarNode || n.Value == "" || c.HTTP.WebConfig == "" {
		return
	}
	if file, inner := l.refer(src, n, "http.web_config"); inner != nil {
		l.web(file, inner)
	}
}

// web checks a file with TLS and users for the HTTP server.
func (l *loader) web(src source, root *yaml.Node) {
	before := len(l.errs)
	checker := decode.New(decode.V2)
	r := checker.Structure(root, reflect.TypeFor[web.Config](), "")
	l.problems(src.file, checker.Problems())
	l.leaves(src, checker.Scalars())
	if r.Node == nil {
		return
	}
	l.webUsers(src, r.Node)
	if len(l.errs) > before {
		return
	}
	if err := web.Validate(src.file); err != nil {
		message := decode.Message(err)
		at, where := decode.Locate(root, "", message)
		if _, tls := decode.Get(root, "tls_server_config"); at == root && tls != nil {
			at, where = tls, "tls_server_config"
		}
		l.add(src, at, where, "%s", message)
	}
}

var bcryptHash = regexp.MustCompile(`^\$2[abxy]?\$\d\d\$[./A-Za-z0-9]{53}$`)

// webUsers finds passwords that are no hashes; upstream does not say whose.
func (l *loader) webUsers(src source, root *yaml.Node) {
	_, users := decode.Get(root, "basic_auth_users")
	if users == nil {
		return
	}
	for i := 0; i+1 < len(users.Content); i += 2 {
		if name, hash := users.Content[i], users.Content[i+1]; !bcryptHash.MatchString(hash.Value) {
			l.add(src, hash, "basic_auth_users."+name.Value, "expected a bcrypt hash, such as `htpasswd -nB %s` prints behind the colon, found something else", name.Value)
		}
	}
}

// storage fills what atoll.yaml leaves open about the store from the document's
// storage section, and says which of its settings have no effect here.
func (l *loader) storage(src source, root *yaml.Node, doc *document, c *Config) {
	tsdb, exemplars := doc.config.StorageConfig.TSDBConfig, doc.config.StorageConfig.ExemplarsConfig
	// take reports whether the document decides about a field of the store.
	take := func(theirs, ours string) bool {
		there, exact := decode.At(doc.node, theirs)
		if !exact || decode.IsNull(there) {
			return false
		}
		if at, both := decode.At(root, ours); both && doc.src.file != src.file || both && doc.src.prefix != "" {
			l.warn(doc.src, there, doc.src.at(theirs), "has no effect, because %s is set in %s:%d", ours, src.file, at.Line)
			return false
		}
		return true
	}
	if take("storage.tsdb.out_of_order_time_window", "store.out_of_order_window") {
		c.Store.OutOfOrderWindow = tsdb.OutOfOrderTimeWindowFlag
	}
	if take("storage.tsdb.retention.time", "store.retention.time") {
		c.Store.Retention.Time = tsdb.Retention.Time
	}
	if take("storage.tsdb.retention.size", "store.retention.size") {
		c.Store.Retention.Size = flow.Bytes(tsdb.Retention.Size)
	}
	if take("storage.exemplars.max_exemplars", "store.max_exemplars") {
		c.Store.MaxExemplars = max(exemplars.MaxExemplars, 0)
	}
	for _, u := range unused {
		if k, exact := decode.At(doc.node, u.path); exact && !decode.IsNull(k) {
			l.warn(doc.src, k, doc.src.at(u.path), "has no effect in Atoll; %s", u.instead)
		}
	}
}

// unused are settings of a Prometheus document that are accepted and have no effect.
var unused = []struct{ path, instead string }{
	{"storage.tsdb.retention.percentage", "bound the store with store.retention.size or budget.disk.max, or keep space free with budget.disk.reserve"},
	{"storage.tsdb.stale_series_compaction_threshold", "bound the series in memory with budget.series"},
	{"storage.tsdb.chunk_encoding.floats", "the store chooses the encoding"},
	{"tracing", "remove it"},
	{"runtime.log_level", "set log.level in atoll.yaml"},
}

// advise warns of what is allowed and seldom meant.
func (l *loader) advise(src source, root *yaml.Node, c *Config) {
	reserve, disk := decode.At(root, "budget.disk.max")
	_, forever := decode.At(root, "store.retention.time")
	if disk && c.Store.Retention.Time == 0 && forever {
		l.warn(src, reserve, "budget.disk.max", "is the only bound, because store.retention.time is 0: samples are deleted when the store has grown to %s", c.Budget.Disk.Max)
	}
	if slices.ContainsFunc(c.HTTP.Listen, notLoopback) && c.HTTP.TLS.Mode == secure.Off {
		at, _ := decode.At(root, "http.tls.mode")
		l.warn(src, at, "http.tls.mode", "other machines send passwords and tokens in the clear; remove it, and they are answered with a certificate that the island makes, or listen on 127.0.0.1 behind a proxy")
	}
}

func notLoopback(addr string) bool {
	return !strings.HasPrefix(addr, "127.") && !strings.HasPrefix(addr, "localhost:") && !strings.HasPrefix(addr, "[::1]:")
}

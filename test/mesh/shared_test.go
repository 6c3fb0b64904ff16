package mesh

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

const sharedRules = `islands: '{region="eu"}'
groups:
  - name: shared
    rules:
      - alert: SharedAlert
        expr: vector(1) > 2
`

const sharedScrape = `islands: '{region="us"}'
scrape_configs:
  - job_name: shared-job
    static_configs: [{targets: ["127.0.0.1:59080"]}]
`

// obeyWithin is what "seconds later" is held to where islands obey a document.
const obeyWithin = 10 * time.Second

// TestSharedDocuments has islands obey documents that one of them wrote: those
// that the selector means, and no others.
func TestSharedDocuments(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	link := lab.LinkOptions{Delay: 10 * time.Millisecond}
	var sites []*site
	for _, name := range []string{"eu-1", "eu-2", "us-1"} {
		sites = append(sites, newSite(t, l.Public(name, link), name[:2]))
	}
	allUp(sites...)
	found(t, sites[0], sites[1:]...)
	meshed(t, sites...)
	eu, us := sites[:2], sites[2:]

	t.Run("rules", func(t *testing.T) {
		us[0].set("rules/shared", sharedRules) // any island may write for others
		shown(t, eu, "/api/v1/rules", "SharedAlert", true)
		alike(t, time.Minute, sites...)
		shown(t, us, "/api/v1/rules", "SharedAlert", false)
	})
	t.Run("moved by an edit", func(t *testing.T) {
		eu[0].set("rules/shared", strings.Replace(sharedRules, `"eu"`, `"us"`, 1))
		shown(t, us, "/api/v1/rules", "SharedAlert", true)
		shown(t, eu, "/api/v1/rules", "SharedAlert", false)
	})
	t.Run("scrape", func(t *testing.T) {
		eu[1].set("scrape/shared", sharedScrape)
		shown(t, us, "/api/v1/targets", "shared-job", true)
		alike(t, time.Minute, sites...)
		shown(t, eu, "/api/v1/targets", "shared-job", false)
	})
	t.Run("obeyed again after a restart", func(t *testing.T) {
		us[0].stop()
		us[0].up()
		shown(t, us, "/api/v1/targets", "shared-job", true)
		shown(t, us, "/api/v1/rules", "SharedAlert", true)
	})
	t.Run("deleted", func(t *testing.T) {
		connected(t, eu[0], us[0])
		eu[0].must("set", "rules/shared", "--delete")
		eu[0].must("set", "scrape/shared", "--delete")
		shown(t, sites, "/api/v1/rules", "SharedAlert", false)
		shown(t, sites, "/api/v1/targets", "shared-job", false)
	})
	for key, text := range map[string]string{
		"rules/bad":        strings.Replace(sharedRules, "vector(1) > 2", "vector(1 > 2", 1),
		"rules/misspelt":   strings.Replace(sharedRules, "alert:", "alrt:", 1),
		"rules/selector":   strings.Replace(sharedRules, `{region="eu"}`, `{region=eu}`, 1),
		"scrape/bad":       strings.Replace(sharedScrape, "targets:", "tragets:", 1),
		"scrape/elsewhere": sharedScrape + "global: {scrape_interval: 1s}\n",
	} {
		t.Run("refused "+key, func(t *testing.T) {
			if err := refusedWithLine(eu[0].atollWith(text, "set", key, "-f", "-")); err != nil {
				t.Error(err)
			}
			if docs, err := eu[0].documents(key); err != nil || len(docs) > 0 {
				t.Errorf("it is there all the same: %s %v", show(docs), err)
			}
		})
	}
}

// shown waits until the answer at a path of each site's API has a word, or has
// it no more.
func shown(t *testing.T, sites []*site, path, word string, want bool) {
	t.Helper()
	for _, s := range sites {
		took := eventually(t, obeyWithin, fmt.Sprintf("%s on %s shows %s: %t", path, s.name, word, want), func() error {
			body, err := s.port(path)
			if err != nil {
				return err
			}
			if !json.Valid(body) {
				return fmt.Errorf("no JSON: %s", body)
			}
			if strings.Contains(string(body), word) != want {
				return fmt.Errorf("it says %s", body)
			}
			return nil
		})
		if want {
			t.Logf("%s obeys after %s", s.name, took.Round(time.Millisecond))
		}
	}
}

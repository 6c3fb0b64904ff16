//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe"
)

// get asks an island's API and decodes the data of its answer.
func (s *site) get(ctx context.Context, path string, data any) error {
	transport := &http.Transport{DialContext: s.node.Dial, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, inside+path, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("ask %s: %w", s.name, err)
	}
	defer resp.Body.Close()
	answer := struct {
		Error string `json:"error"`
		Data  any    `json:"data"`
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("ask %s: %s: %w", s.name, resp.Status, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ask %s: %s: %s", s.name, resp.Status, answer.Error)
	}
	return nil
}

// verdicts says how the services are, as the named island hears from all judges.
func (a *archipelago) verdicts(ctx context.Context, args []string) error {
	s, err := a.find(args)
	if err != nil {
		return err
	}
	return a.tell(s.verdicts(ctx))
}

func (s *site) verdicts(ctx context.Context) (string, error) {
	var all probe.VerdictList
	if err := s.get(ctx, probe.VerdictsPath, &all); err != nil {
		return "", err
	}
	var out strings.Builder
	fine := 0
	for _, v := range all.Verdicts {
		if v.State == "up" {
			fine++
			continue
		}
		fmt.Fprintf(&out, "%s %s: %s\n", v.Definition, v.Target, v.Words)
	}
	fmt.Fprintf(&out, "%d of %d services are up\n", fine, len(all.Verdicts))
	for name, why := range all.Missing {
		fmt.Fprintf(&out, "%s did not answer: %s\n", name, why)
	}
	return out.String(), nil
}

// until waits for words in the verdicts or the alerts, and prints the verdicts.
func (a *archipelago) until(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("name an island and words that its verdicts, or an alert, will have, as in: until eu-1 20 of 20")
	}
	s, err := a.find(args[:1])
	if err != nil {
		return err
	}
	words, said := strings.Join(args[1:], " "), ""
	err = poll(ctx, seeLimit, func(ctx context.Context) (err error) {
		if said, err = s.verdicts(ctx); err == nil && !strings.Contains(said+a.shop.alerts(), words) {
			err = fmt.Errorf("%q is neither in the verdicts as %s hears them nor in an alert:\n%s%s", words, s.name, said, a.shop.alerts())
		}
		return err
	})
	if err != nil {
		return err
	}
	return a.tell(said, nil)
}

// gatherLimit is how long a failing and a healthy vantage may take together.
const gatherLimit = time.Minute

// evidence lists what was gathered of the till's last failure.
func (a *archipelago) evidence(ctx context.Context, args []string) error {
	s, err := a.find(args)
	if err != nil {
		return err
	}
	var last []probe.Bundle
	err = poll(ctx, gatherLimit, func(ctx context.Context) (err error) {
		if last, err = s.lastEvidence(ctx); err == nil && len(last) < 2 {
			err = errors.New("the failing and a healthy vantage have not both gathered evidence")
		}
		return err
	})
	for _, b := range last {
		files := make([]string, len(b.Files))
		for i, f := range b.Files {
			files[i] = f.Name
		}
		said := b.Words
		if said == "" {
			said = "it sees nothing wrong"
		}
		fmt.Fprintf(a.opts.out, "%s, %s, kept by %s: %s\n  %s/%s/%s: %s\n", b.Target, b.Role, b.Island, said, probe.EvidencePath, b.Failure, b.Island, strings.Join(files, " "))
	}
	return err
}

// lastEvidence are the bundles of the last failure.
func (s *site) lastEvidence(ctx context.Context) ([]probe.Bundle, error) {
	var all probe.Bundles
	if err := s.get(ctx, probe.EvidencePath, &all); err != nil || len(all.Bundles) == 0 {
		return nil, err
	}
	return slices.DeleteFunc(all.Bundles, func(b probe.Bundle) bool { return b.Failure != all.Bundles[0].Failure }), nil
}

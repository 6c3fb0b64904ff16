package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/probe"
	"github.com/atoll-mesh/atoll/query/render"
)

type probeCmd struct {
	Target string `arg:"" help:"URL, host, host:port; for dns a name, or NAME@SERVER."`

	Type     string        `short:"t" placeholder:"TYPE" help:"Protocol or module. Default: http, or tcp for host:port."`
	From     string        `short:"f" default:"all" placeholder:"WHERE" help:"Vantages: all, this (the island asked), berlin,tokyo, region=eu,isp=acme or a selector."`
	Spread   int           `placeholder:"N" help:"Only so many of them."`
	Per      string        `placeholder:"LABEL" help:"With --spread: so many for each value of this label."`
	Record   string        `placeholder:"TYPE" help:"With --type dns: the type of record, as MX; needs NAME@SERVER."`
	Host     string        `placeholder:"NAME" help:"Host name to ask for where the target is an address."`
	Timeout  time.Duration `help:"Time for each probe, 100ms to 60s. Default: the module's."`
	FailIf   string        `enum:"any,all,quorum" default:"any" help:"Exit code 1 if any vantage, all, or a quorum (two, one of one) see it not up."`
	Watch    bool          `short:"w" xor:"rounds" help:"Probe again every two seconds, until Ctrl-C."`
	Interval time.Duration `short:"i" xor:"rounds" placeholder:"DURATION" help:"Probe again so often, until Ctrl-C; at least 1s."`
	Verbose  bool          `short:"v" help:"Tell the time of each phase in figures."`
	JSON     bool          `help:"Print a line of JSON for each event, as the island sends them."`
	URL      string        `short:"u" default:"${url}" env:"ATOLL_URL" help:"The island to ask."`
	credentials
}

// Help is shown by atoll probe --help.
func (probeCmd) Help() string {
	return `Asks islands to probe a target at once, each from where it stands. Results come
as they are found: a line for each vantage, with the address that answered and a
bar whose parts are the phases of the probe:

  d resolve  c connect  t TLS  r request sent  f until the first byte  x transfer
  - none of these, as the pauses between packets

A bar grows with the logarithm of the time, from 1 ms to 10 s; its parts are
divided as the time was. The last line says what all of it means.

Types: http, http3, websocket, grpc, tcp, tls, icmp, icmp_loss, icmp_mtu, mtr,
trace_tcp, trace_udp, dns, dns_tls, dns_https, ntp, ssh, smtp, imap, pop3, redis,
mysql, postgres, browser, or a module of the island's module file. Other islands
know the built-in ones, and modules that their operators opened to others.

What may be probed is each island's own decision (probe.allow_ad_hoc, probe.deny):
by default public addresses only. Who asked for what stands in the audit log of the
island that was asked, and of each that probed.

Exit code:
  0  the target is up (slow is not up). With --fail-if all it is up from at least
     one vantage; with --fail-if quorum fewer than two see it down, or it has only
     one vantage and is up from there.
  1  it is not.
  2  nobody can tell: the command line is wrong, the island cannot be asked, or no
     vantage probed. Vantages that refuse or do not answer count for nothing else.
Ctrl-C ends the probes everywhere; the code is then that of what was heard, with
--watch of the last whole round.

Examples:

  atoll probe https://hub.example.com/health
  atoll probe https://hub.example.com --from region=eu --type mtr
  atoll probe hub.example.com --type dns --from all --spread 1 --per region
  atoll probe hub.example.com@192.0.2.53 --type dns --record MX
  atoll probe db.example.com:5432 --type postgres --from berlin,tokyo
  atoll probe 192.0.2.7 --type icmp_loss --watch
  atoll probe https://hub.example.com --fail-if quorum && deploy`
}

// notAsked is the exit code where nobody can tell.
const notAsked = 2

// Run asks, once or again and again.
func (c *probeCmd) Run(ctx context.Context, std streams) error {
	every := c.Interval
	if c.Watch {
		every = 2 * time.Second
	}
	if every != 0 && every < time.Second {
		return c.unasked(std, fmt.Errorf("--interval %s: must be at least 1s", every))
	}
	if c.Spread < 0 || c.Per != "" && c.Spread == 0 {
		return c.unasked(std, errors.New("--spread: must be 1 or more; --per needs it"))
	}
	options := render.Detect(std.out, os.Getenv)
	screen := newScreen(std.out, options, c.Verbose)
	if every != 0 && !c.JSON {
		screen.watch()
	}
	code := -1
	for {
		end, whole, err := c.round(ctx, std, screen)
		if err != nil && (ctx.Err() == nil || code < 0 && end.heard() == 0) {
			return c.unasked(std, err)
		}
		if whole || code < 0 {
			code = c.code(end)
		}
		if every == 0 || ctx.Err() != nil {
			return exitWith(code)
		}
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return exitWith(code)
		}
	}
}

func exitWith(code int) error {
	if code == 0 {
		return nil
	}
	return exitError(code)
}

// unasked says why nobody can tell.
func (c *probeCmd) unasked(std streams, err error) error {
	if errors.Is(err, context.Canceled) {
		err = errors.New("stopped before anything was heard")
	}
	fmt.Fprintln(std.err, "atoll:", err)
	return exitError(notAsked)
}

// count is what has been heard.
type count struct {
	up, bad int
	down    bool // by quorum
}

func (n count) heard() int { return n.up + n.bad }

func (n *count) add(r *probe.RunResult) {
	switch r.State {
	case probe.RunUp:
		n.up++
	case probe.RunSlow, probe.RunDown:
		n.bad++
	}
}

func (c *probeCmd) code(n count) int {
	bad := n.bad > 0
	switch c.FailIf {
	case "all":
		bad = n.up == 0
	case "quorum":
		bad = n.down
	}
	switch {
	case n.heard() == 0:
		return notAsked
	case bad:
		return 1
	}
	return 0
}

// round has the target probed once; whole tells that the end was heard.
func (c *probeCmd) round(ctx context.Context, std streams, screen *screen) (n count, whole bool, err error) {
	body, err := c.ask(ctx)
	if err != nil {
		return n, false, err
	}
	defer body.Close()
	lines := bufio.NewReaderSize(body, 64<<10)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) == 0 {
			if errors.Is(err, io.EOF) {
				return n, whole, cutShort(whole)
			}
			if ctx.Err() != nil {
				screen.cut()
				return n, whole, ctx.Err()
			}
			return n, whole, fmt.Errorf("read the answer of %s: %w", c.URL, err)
		}
		var e probe.RunEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return n, whole, fmt.Errorf("read the answer of %s: %w", c.URL, err)
		}
		if e.Result != nil {
			n.add(e.Result)
		}
		if e.End != nil {
			whole = true
			n.down = e.End.State == "down" || e.End.Up == 0 && n.heard() > 0
		}
		if c.JSON {
			_, err = std.out.Write(line)
		} else {
			err = screen.show(e)
		}
		if err != nil {
			return n, whole, err
		}
	}
}

func cutShort(whole bool) error {
	if whole {
		return nil
	}
	return errors.New("the island ended in the middle of its answer")
}

// ask sends the question and returns the stream of the answer.
func (c *probeCmd) ask(ctx context.Context) (io.ReadCloser, error) {
	form := url.Values{"target": {c.Target}, "from": {c.From}}
	for name, value := range map[string]string{"module": c.Type, "per": c.Per, "record": c.Record, "hostname": c.Host} {
		if value != "" {
			form.Set(name, value)
		}
	}
	if c.Spread > 0 {
		form.Set("spread", strconv.Itoa(c.Spread))
	}
	if c.Timeout != 0 {
		form.Set("timeout", c.Timeout.String())
	}
	client, err := c.client(c.URL)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.URL, "/")+probe.RunPath, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("--url %q: %w", c.URL, err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := client.Do(r)
	if _, ok := errors.AsType[*refusedError](err); ok {
		return nil, fmt.Errorf("ask the island: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("ask the island: %w; is it running? (atoll run)", err)
	}
	if res.StatusCode == http.StatusOK {
		return res.Body, nil
	}
	defer res.Body.Close()
	const mostProblem = 64 << 10
	text, err := io.ReadAll(io.LimitReader(res.Body, mostProblem))
	if err != nil {
		return nil, fmt.Errorf("read the refusal of %s: %w", c.URL, err)
	}
	var problem struct{ Error string }
	if json.Unmarshal(text, &problem) != nil || problem.Error == "" {
		problem.Error = res.Status + ": " + strings.TrimSpace(string(text))
	}
	return nil, errors.New(problem.Error)
}

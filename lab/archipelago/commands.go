//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/atoll-mesh/atoll/lab"
)

// errQuit ends obeying without a complaint.
var errQuit = errors.New("quit")

// command is one thing to say. Its usage begins with the word that calls it.
type command struct {
	usage, help string
	do          func(a *archipelago, ctx context.Context, args []string) error
}

func commands() []command {
	return []command{
		{"peers NAME", "the others as NAME sees them", (*archipelago).peers},
		{"cut NAME", "the link of an island, or of a NAT box (us, ap), swallows every packet", (*archipelago).cut},
		{"heal [NAME]", "end a cut; without a name every cut and partition", (*archipelago).heal},
		{"partition A,B | C,D", "packets pass only within a group; a NAT box stands for all behind it", (*archipelago).partition},
		{"kill NAME", "kill -9", (*archipelago).kill},
		{"start NAME", "start it again, with the data it had", (*archipelago).start},
		{"revoke NAME", "end its membership, on the island that holds the signer key", (*archipelago).revoke},
		{"on NAME COMMAND ...", "any command of atoll on an island, as in: on us-1 ping ap-1", (*archipelago).on},
		{"break ISP", "the way from an ISP's customers (Alpine, Liberty, Sakura) to one of the services, the till, swallows all", (*archipelago).breakFor},
		{"mend ISP", "end that", (*archipelago).mend},
		{"verdicts NAME", "how the services are, from all places, as NAME hears it", (*archipelago).verdicts},
		{"until NAME WORDS", "until the verdicts, or an alert, say so", (*archipelago).until},
		{"evidence NAME", "what was gathered of the last failure, where it failed and where it did not", (*archipelago).evidence},
		{"load NAME", "an hour of a site of 16,800 series, to ask about; then: on us-1 query --scope all --receipt ...", (*archipelago).load},
		{"wait NAME N", "until NAME is connected with N islands", (*archipelago).wait},
		{"table", "where everything is", func(a *archipelago, _ context.Context, _ []string) error { a.printTable(); return nil }},
		{"help", "this list", func(a *archipelago, _ context.Context, _ []string) error { a.printHelp(); return nil }},
		{"quit", "stop and remove everything; so do Ctrl-D and Ctrl-C", func(*archipelago, context.Context, []string) error { return errQuit }},
	}
}

// obey reads commands until quit, the end of the input, or ctx ends. A mistake
// ends it too, unless somebody sits there who can mend it.
func (a *archipelago) obey(ctx context.Context) error {
	lines := make(chan string)
	go func() { // it may stay in a read for ever: the process is about to end then
		defer close(lines)
		for in := bufio.NewScanner(a.opts.in); in.Scan(); {
			select {
			case lines <- in.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		if a.opts.interactive {
			fmt.Fprint(a.opts.out, "lab> ")
		}
		select {
		case <-ctx.Done():
			fmt.Fprintln(a.opts.out)
			return a.interrupted()
		case line, more := <-lines:
			if !more {
				return nil
			}
			err := a.do(ctx, line)
			switch {
			case errors.Is(err, errQuit):
				return nil
			case ctx.Err() != nil:
				return a.interrupted()
			case err != nil && !a.opts.interactive:
				return fmt.Errorf("%q: %w", line, err)
			case err != nil:
				fmt.Fprintln(a.opts.out, err)
			}
		}
	}
}

func (a *archipelago) interrupted() error {
	if a.opts.interactive {
		return nil
	}
	return errors.New("stopped before the script had ended")
}

// do obeys one line; empty ones and those that begin with # mean nothing.
func (a *archipelago) do(ctx context.Context, line string) error {
	words := strings.Fields(line)
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	for _, c := range commands() {
		if name, _, _ := strings.Cut(c.usage, " "); name == words[0] {
			if !a.opts.interactive {
				a.say("%s", line)
			}
			return c.do(a, ctx, words[1:])
		}
	}
	return fmt.Errorf("%q is no command; `help` lists them", words[0])
}

// find returns the island that a command's only argument names.
func (a *archipelago) find(args []string) (*site, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("%d words follow the command: name one island of %s", len(args), a.names())
	}
	for _, s := range a.sites {
		if s.name == args[0] {
			return s, nil
		}
	}
	return nil, fmt.Errorf("%q is no island: there are %s", args[0], a.names())
}

func (a *archipelago) names() string {
	names := make([]string, len(a.sites))
	for n, s := range a.sites {
		names[n] = s.name
	}
	return strings.Join(names, ", ")
}

// link returns what an island, or a NAT box, hangs on.
func (a *archipelago) link(args []string) (*lab.Link, error) {
	if len(args) == 1 {
		for _, box := range a.boxes {
			if box.Name() == args[0] {
				return box.Link(), nil
			}
		}
	}
	s, err := a.find(args)
	if err != nil {
		return nil, err
	}
	return s.node.Link(), nil
}

// load sends each island other values.
func (a *archipelago) load(ctx context.Context, args []string) error {
	s, err := a.find(args)
	if err != nil {
		return err
	}
	transport := &http.Transport{DialContext: s.node.Dial}
	defer transport.CloseIdleConnections()
	return lab.LoadFleet(ctx, &http.Client{Transport: transport}, inside, uint64(slices.Index(a.sites, s)+1), time.Now().Truncate(time.Minute), nil)
}

func (a *archipelago) peers(ctx context.Context, args []string) error {
	s, err := a.find(args)
	if err != nil {
		return err
	}
	return a.tell(s.atoll(ctx, "peers"))
}

// tell prints what a command said.
func (a *archipelago) tell(text string, err error) error {
	fmt.Fprint(a.opts.out, text)
	return err
}

func (a *archipelago) cut(_ context.Context, args []string) error {
	l, err := a.link(args)
	if err != nil {
		return err
	}
	return lab.Try(l.Cut)
}

func (a *archipelago) heal(_ context.Context, args []string) error {
	if len(args) == 0 {
		return lab.Try(a.lab.HealAll)
	}
	l, err := a.link(args)
	if err != nil {
		return err
	}
	return lab.Try(l.Heal)
}

func (a *archipelago) partition(_ context.Context, args []string) error {
	var groups [][]lab.Site
	for _, part := range strings.Split(strings.Join(args, " "), "|") {
		var group []lab.Site
		for _, name := range strings.FieldsFunc(part, func(r rune) bool { return r == ',' || r == ' ' }) {
			at, err := a.place(name)
			if err != nil {
				return err
			}
			group = append(group, at)
		}
		groups = append(groups, group)
	}
	if len(groups) < 2 {
		return errors.New("one group is no partition: write it like `partition eu-1,us | eu-2,ap`")
	}
	return lab.Try(func() { a.lab.Partition(groups...) })
}

// place is an island or a NAT box.
func (a *archipelago) place(name string) (lab.Site, error) {
	for _, box := range a.boxes {
		if box.Name() == name {
			return box, nil
		}
	}
	s, err := a.find([]string{name})
	if err != nil {
		return nil, err
	}
	return s.node, nil
}

func (a *archipelago) kill(_ context.Context, args []string) error {
	s, err := a.find(args)
	if err != nil {
		return err
	}
	return s.kill()
}

func (a *archipelago) start(ctx context.Context, args []string) error {
	s, err := a.find(args)
	if err != nil {
		return err
	}
	return s.up(ctx)
}

func (a *archipelago) revoke(ctx context.Context, args []string) error {
	s, err := a.find(args)
	if err != nil {
		return err
	}
	return a.tell(a.sites[0].atoll(ctx, "revoke", s.name))
}

func (a *archipelago) on(ctx context.Context, args []string) error {
	if len(args) < 2 {
		return errors.New("name an island and a command of atoll, as in: on us-1 ping ap-1")
	}
	s, err := a.find(args[:1])
	if err != nil {
		return err
	}
	return a.tell(s.atoll(ctx, args[1:]...))
}

func (a *archipelago) wait(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return errors.New("name an island and how many others it is to be connected with, as in: wait us-1 5")
	}
	s, err := a.find(args[:1])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 0 {
		return fmt.Errorf("%q is no number of islands", args[1])
	}
	return s.waitFor(ctx, n)
}

// Command atoll is the whole of Atoll in one binary: it runs an island, checks
// its configuration, asks it questions and says how it is.
//
// In: flags and files. Out: one call into the package that does the work.
// Guaranteed: exit code 0 on success, 1 when the work went wrong, 2 when the
// command line did.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	kongcompletion "github.com/jotaen/kong-completion"
	"github.com/posener/complete"
)

// version is set by the linker.
var version = "dev"

type cli struct {
	Run        runCmd                    `cmd:"" help:"Run an island: collect, store, answer, evaluate, notify."`
	Demo       demoCmd                   `cmd:"" help:"Show three islands at work: this machine, a sample shop, something broken every few minutes."`
	Check      checkCmd                  `cmd:"" help:"Check configuration, rule and Alertmanager files: every error at once."`
	Query      queryCmd                  `cmd:"" help:"Ask a running island a PromQL question."`
	Search     searchCmd                 `cmd:"" help:"Find hosts, targets, metrics, alerts, documents and the rest on all islands."`
	Probe      probeCmd                  `cmd:"" help:"Have islands probe a target at once, each from where it stands."`
	Status     statusCmd                 `cmd:"" help:"Say what runs on an island, what is wrong, and what to do."`
	Top        topCmd                    `cmd:"" help:"Show what weighs most."`
	Init       initCmd                   `cmd:"" group:"mesh" help:"Make a network, with this island as its first member."`
	Invite     inviteCmd                 `cmd:"" group:"mesh" help:"Print a token with which another site joins the network."`
	Join       joinCmd                   `cmd:"" group:"mesh" help:"Join the network that a token is for, and run the island."`
	Leave      leaveCmd                  `cmd:"" group:"mesh" help:"End this island's membership."`
	Revoke     revokeCmd                 `cmd:"" group:"mesh" help:"End another island's membership, or take back an invitation."`
	Signer     signerCmd                 `cmd:"" group:"mesh" help:"Show, add or remove islands that may invite."`
	Rotate     rotateCmd                 `cmd:"" group:"mesh" help:"Replace the node, signer or root key."`
	Trust      trustCmd                  `cmd:"" group:"mesh" help:"Carry the network's documents of trust by hand."`
	Promote    promoteCmd                `cmd:"" group:"mesh" help:"Have islands evaluate the network's rules."`
	Demote     demoteCmd                 `cmd:"" group:"mesh" help:"End that."`
	Peers      peersCmd                  `cmd:"" group:"mesh" help:"Show the other islands: how they are reached, and why not directly."`
	Copies     copiesCmd                 `cmd:"" group:"mesh" help:"Show what is copied to other islands, and their copies here."`
	Ping       pingCmd                   `cmd:"" group:"mesh" help:"Measure the way to another island."`
	Audit      auditCmd                  `cmd:"" group:"mesh" help:"Show or verify the signed log of changes."`
	Get        getCmd                    `cmd:"" group:"documents" help:"Print a shared document, or list them."`
	Set        setCmd                    `cmd:"" group:"documents" help:"Write or delete a shared document."`
	Edit       editCmd                   `cmd:"" group:"documents" help:"Edit a shared document in your editor."`
	Diff       diffCmd                   `cmd:"" group:"documents" help:"Compare versions of a shared document."`
	History    historyCmd                `cmd:"" group:"documents" help:"List the versions of a shared document."`
	User       userCmd                   `cmd:"" group:"access" help:"Add, list and remove users of the page and the API."`
	Token      tokenCmd                  `cmd:"" group:"access" help:"Make, list and revoke API tokens."`
	Version    versionCmd                `cmd:"" help:"Print the version and what it was built with."`
	Completion kongcompletion.Completion `cmd:"" help:"Print how to switch on tab completion for bash, zsh or fish."`
}

const description = `Atoll monitors services that run in many places.

Every site runs one island. It discovers, collects, stores, evaluates rules and
notifies on its own, and speaks the protocols that Prometheus and Alertmanager
speak: Grafana, promtool and amtool work with it as they are.

Start with:

  atoll demo                                    see it work, no configuration
  atoll run                                     this machine's metrics, on 127.0.0.1:59080
  atoll run --prometheus-config prometheus.yml  what you have, unchanged
  atoll check atoll.yaml                        before you reload`

// streams are where a command writes; tests hand over buffers.
type streams struct {
	out, err io.Writer
}

func main() { os.Exit(execute(os.Args[1:], streams{os.Stdout, os.Stderr})) }

func execute(args []string, std streams) (code int) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second Ctrl-C must be able to end a stop that hangs.
	context.AfterFunc(ctx, stop)

	var c cli
	exited := -1
	app, err := kong.New(&c,
		kong.Name("atoll"),
		kong.Description(description),
		kong.ShortUsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, WrapUpperBound: 100}),
		kong.Writers(std.out, std.err),
		kong.Exit(func(code int) { exited = code }),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.Bind(std),
		kong.Vars{"url": "http://127.0.0.1:59080"},
		kong.ExplicitGroups([]kong.Group{
			{Key: "mesh", Title: "Network of islands:"},
			{Key: "documents", Title: "Shared documents:"},
			{Key: "access", Title: "Who may use this island over HTTP:"},
		}),
	)
	if err != nil {
		fmt.Fprintln(std.err, "atoll:", err)
		return 2
	}
	kongcompletion.Register(app, kongcompletion.WithPredictor("file", complete.PredictFiles("*")))
	k, err := app.Parse(args)
	if exited >= 0 { // --help has printed what it had to say
		return exited
	}
	if err != nil {
		app.FatalIfErrorf(err) // prints usage; Exit above keeps us here
		return 2
	}
	if err := k.Run(); err != nil {
		var silent exitError
		if errors.As(err, &silent) {
			return int(silent)
		}
		if ctx.Err() != nil && strings.HasSuffix(err.Error(), context.Canceled.Error()) {
			err = errors.New("stopped before it was done") // by Ctrl-C, as who pressed it knows
		}
		fmt.Fprintln(std.err, "atoll:", err)
		return 1
	}
	return 0
}

// exitError ends the program with a code after the command has said everything.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

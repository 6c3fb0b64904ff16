//go:build linux

// Command archipelago brings up six islands in three regions on one machine, two
// of the regions behind NAT boxes, and lets you cut, kill and revoke them.
//
// In: the atoll binary, root, and commands on standard input; `help` lists them.
// Out: a network in which every island sees every other, a table of where each
// one is and how to look at it, and the answers to the commands. On a terminal
// there is a prompt; otherwise the commands are a script, which ends at the first
// that fails with exit code 1. Guaranteed: nothing of it outlives the command,
// whether it ends by quit, by the end of the script, by an error or by Ctrl-C: no
// process, no namespace, no file, unless -keep is given.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"
)

func main() { os.Exit(execute()) }

func execute() int {
	o := options{in: os.Stdin, out: os.Stdout, interactive: term.IsTerminal(int(os.Stdin.Fd()))}
	flag.StringVar(&o.atoll, "atoll", "bin/atoll", "the binary that the islands run")
	flag.BoolVar(&o.keep, "keep", false, "leave data and logs behind")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	o.log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "archipelago:", err)
		return 1
	}
	return 0
}

// options say what to run and whom to listen to.
type options struct {
	atoll       string // path of the binary
	keep        bool
	in          io.Reader
	out         io.Writer
	interactive bool // somebody sits there: prompt, and go on after a mistake
	log         *slog.Logger
}

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
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/term"
)

type userCmd struct {
	Add    userAddCmd    `cmd:"" help:"Add somebody who may sign in; asks for the password."`
	List   userListCmd   `cmd:"" help:"List the users of this island and of its network."`
	Remove userRemoveCmd `cmd:"" help:"Remove a user, their sessions and tokens."`
	Passwd userPasswdCmd `cmd:"" help:"Set a new password, which ends the user's sessions."`
}

const usersPath = "/api/atoll/v1/users"

type userAddCmd struct {
	here `embed:""`

	Name  string   `arg:"" help:"Lower-case letters, digits, '.', '_' and '-'."`
	Role  []string `required:"" enum:"admin,operator,viewer" help:"What the user may do: admin, operator, viewer."`
	Place string   `enum:",island,network" default:"" help:"Where to keep the user: island or network. Default: the network, where there is one."`
}

// Help is shown by atoll user add --help.
func (userAddCmd) Help() string {
	return `The password is asked for, or read from standard input where that is no terminal.

Examples:

  atoll user add ann --role admin
  pwgen 20 1 | atoll user add bob --role operator`
}

// Run adds.
func (c *userAddCmd) Run(ctx context.Context, std streams) error {
	password, err := askPassword(std.err)
	if err != nil {
		return err
	}
	body := map[string]any{"name": c.Name, "password": password, "roles": c.Role, "place": c.Place}
	var made struct{ Place string }
	if err := c.exchange(ctx, http.MethodPost, usersPath, body, &made); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "user %s may sign in (%s)\n", c.Name, made.Place)
	return nil
}

type userListCmd struct {
	here `embed:""`

	JSON bool `help:"Print JSON."`
}

// Run lists.
func (c *userListCmd) Run(ctx context.Context, std streams) error {
	var got struct {
		Items []struct {
			Name     string    `json:"name"`
			Roles    []string  `json:"roles"`
			Place    string    `json:"place"`
			Disabled bool      `json:"disabled"`
			Changed  time.Time `json:"changed"`
			By       string    `json:"by"`
		} `json:"items"`
	}
	if err := c.exchange(ctx, http.MethodGet, usersPath, nil, &got); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, got.Items)
	}
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "NAME\tROLES\tPLACE\tCHANGED\tBY")
	for _, u := range got.Items {
		if u.Disabled {
			u.Place += ", disabled"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", u.Name, strings.Join(u.Roles, ","), u.Place, u.Changed.Local().Format(time.DateTime), dash(u.By))
	}
	return t.Flush()
}

type userRemoveCmd struct {
	here `embed:""`

	Name string `arg:"" help:"The user."`
}

// Run removes.
func (c *userRemoveCmd) Run(ctx context.Context, std streams) error {
	if err := c.exchange(ctx, http.MethodDelete, usersPath+"/"+url.PathEscape(c.Name), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "user %s is removed\n", c.Name)
	return nil
}

type userPasswdCmd struct {
	here `embed:""`

	Name string `arg:"" help:"The user."`
}

// Run sets a password.
func (c *userPasswdCmd) Run(ctx context.Context, std streams) error {
	password, err := askPassword(std.err)
	if err != nil {
		return err
	}
	if err := c.exchange(ctx, http.MethodPut, usersPath+"/"+url.PathEscape(c.Name), map[string]any{"password": password}, nil); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "user %s has a new password; their sessions are over\n", c.Name)
	return nil
}

// exchange sends JSON to the island at hand and reads its answer where into is given.
func (h here) exchange(ctx context.Context, method, path string, body, into any) error {
	client, err := h.client()
	if err != nil {
		return err
	}
	var text []byte
	if body != nil {
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
	}
	resp, err := client.Do(ctx, method, path, http.Header{"Content-Type": {"application/json"}}, text)
	if err != nil {
		return err
	}
	return finish(resp, into)
}

// askPassword reads a password twice from the terminal, or once from a pipe.
func askPassword(prompt io.Writer) (string, error) {
	in := int(os.Stdin.Fd())
	if !term.IsTerminal(in) {
		line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password from standard input: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	var typed [2]string
	for n, question := range []string{"Password: ", "Once more: "} {
		fmt.Fprint(prompt, question)
		text, err := term.ReadPassword(in)
		fmt.Fprintln(prompt)
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		typed[n] = string(text)
	}
	if typed[0] != typed[1] {
		return "", errors.New("the two passwords differ: nothing was changed")
	}
	return typed[0], nil
}

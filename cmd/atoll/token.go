package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"
)

type tokenCmd struct {
	Create tokenCreateCmd `cmd:"" help:"Print a token with which a program may ask over HTTP."`
	List   tokenListCmd   `cmd:"" help:"List tokens: what for, whose, until when."`
	Revoke tokenRevokeCmd `cmd:"" help:"End a token at once."`
}

const tokensPath = "/api/atoll/v1/tokens"

type tokenCreateCmd struct {
	here `embed:""`

	Name    string        `arg:"" help:"What the token is for."`
	Scope   []string      `required:"" enum:"read,ingest,silence,probe,write,administer" help:"What it is good for: read, ingest, silence, probe, write, administer. May be repeated."`
	Role    []string      `enum:"admin,operator,viewer" default:"operator" help:"The most that it may do within its scopes: admin, operator, viewer."`
	Expires time.Duration `default:"2160h" help:"How long it is good for, at most two years."`
	Place   string        `enum:",island,network" default:"" help:"Where it is good: on this island, or in its network. Default: the network, where there is one."`
	JSON    bool          `help:"Print JSON."`
}

// Help is shown by atoll token create --help.
func (tokenCreateCmd) Help() string {
	return `Prints one line, which is shown once: send it as "Authorization: Bearer TOKEN".

Examples:

  atoll token create grafana --scope read --role viewer
  atoll token create prometheus-eu --scope ingest --expires 8760h
  atoll token create terraform --scope read --scope write --scope administer --role admin`
}

// token is what the API tells of one.
type token struct {
	Token   string    `json:"token,omitempty"`
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	User    string    `json:"user,omitempty"`
	Roles   []string  `json:"roles,omitempty"`
	Scopes  []string  `json:"scopes"`
	Place   string    `json:"place"`
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired"`
}

// Run prints the token.
func (c *tokenCreateCmd) Run(ctx context.Context, std streams) error {
	var made token
	err := c.exchange(ctx, http.MethodPost, tokensPath, map[string]any{
		"name": c.Name, "scopes": c.Scope, "roles": c.Role, "expires_seconds": c.Expires.Seconds(), "place": c.Place,
	}, &made)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, made)
	}
	fmt.Fprintln(std.out, made.Token)
	fmt.Fprintf(std.err, "token %s, good until %s (%s); it is not shown again\n", made.ID, made.Expires.Local().Format(time.DateTime), made.Place)
	return nil
}

type tokenListCmd struct {
	here `embed:""`

	JSON bool `help:"Print JSON."`
}

// Run lists.
func (c *tokenListCmd) Run(ctx context.Context, std streams) error {
	var got struct {
		Items []token `json:"items"`
	}
	if err := c.exchange(ctx, http.MethodGet, tokensPath, nil, &got); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, got.Items)
	}
	t := tabwriter.NewWriter(std.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "ID\tNAME\tOF\tSCOPES\tPLACE\tEXPIRES")
	for _, k := range got.Items {
		of := k.User
		if of == "" {
			of = "role " + strings.Join(k.Roles, ",")
		}
		until := k.Expires.Local().Format(time.DateTime)
		if k.Expired {
			until = "expired " + until
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", k.ID, k.Name, of, strings.Join(k.Scopes, ","), k.Place, until)
	}
	return t.Flush()
}

type tokenRevokeCmd struct {
	here `embed:""`

	ID string `arg:"" help:"The token's ID, as atoll token list shows it."`
}

// Run revokes.
func (c *tokenRevokeCmd) Run(ctx context.Context, std streams) error {
	if err := c.exchange(ctx, http.MethodDelete, tokensPath+"/"+url.PathEscape(c.ID), nil, nil); err != nil {
		return err
	}
	fmt.Fprintf(std.out, "token %s is revoked\n", c.ID)
	return nil
}

package access

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/policy"
)

// OIDC says who signs people in besides the island itself: a provider that speaks
// OpenID Connect. Without an issuer there is none.
type OIDC struct {
	// Issuer is the provider, as it calls itself.
	Issuer string `yaml:"issuer,omitempty"`
	// ClientID is what the provider knows the island as; its secret is read from a
	// file each time. Without a file the island is a public client.
	ClientID         string `yaml:"client_id,omitempty"`
	ClientSecretFile string `yaml:"client_secret_file,omitempty"`
	// RedirectURL is where the provider sends people back to; empty: the external
	// URL with /api/atoll/v1/oidc/callback.
	RedirectURL string   `yaml:"redirect_url,omitempty"`
	Scopes      []string `yaml:"scopes,omitempty"`
	// NameClaim is what people are called by, RolesClaim what Roles maps: a text, or
	// a list of them. A dot leads into an object.
	NameClaim  string `yaml:"name_claim,omitempty"`
	RolesClaim string `yaml:"roles_claim,omitempty"`
	// Roles gives each value of RolesClaim a role; "*" stands for everybody.
	Roles map[string]string `yaml:"roles,omitempty"`
	// CAFile holds the roots by which the provider is trusted; empty: the system's.
	CAFile string `yaml:"ca_file,omitempty"`
}

// everybody, as a value of OIDC.Roles, is who the provider lets sign in at all.
const everybody = "*"

func defaultOIDC() OIDC {
	return OIDC{Scopes: []string{"openid", "profile", "email"}, NameClaim: "preferred_username", RolesClaim: "groups"}
}

func (c OIDC) validate() error {
	if c.Issuer == "" {
		if c.ClientID != "" {
			return errors.New("http.oidc.issuer: is empty: name the provider, such as https://id.example.com")
		}
		return nil
	}
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("http.oidc."+field+": "+format, args...))
	}
	if !safeURL(c.Issuer) {
		bad("issuer", "%q: must be https:// and a host; http:// will do on a loopback address only", c.Issuer)
	}
	if c.RedirectURL != "" && !safeURL(c.RedirectURL) {
		bad("redirect_url", "%q: must be https:// and a host; http:// will do on a loopback address only", c.RedirectURL)
	}
	if c.ClientID == "" {
		bad("client_id", "is empty: write what the provider knows the island as")
	}
	if !slices.Contains(c.Scopes, "openid") {
		bad("scopes", `%q: must have "openid" among them`, c.Scopes)
	}
	if c.NameClaim == "" {
		bad("name_claim", "is empty: the default is %q", defaultOIDC().NameClaim)
	}
	if len(c.Roles) == 0 {
		bad("roles", `is empty: nobody would have a role; write {GROUP: ROLE}, where GROUP "*" is everybody`)
	}
	for _, group := range slices.Sorted(maps.Keys(c.Roles)) {
		if !slices.Contains(policy.UserRoles(), c.Roles[group]) {
			bad("roles", "%q: %q must be one of %s", group, c.Roles[group], quoted(policy.UserRoles()))
		}
	}
	return errors.Join(errs...)
}

// safeURL refuses what codes and tokens would cross a network by in the clear.
func safeURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (u.Hostname() == "localhost" || ip != nil && ip.IsLoopback())
}

// roles maps what the provider says of somebody to roles here, in the order of
// policy.UserRoles.
func (c OIDC) roles(groups []string) []string {
	var out []string
	for _, role := range policy.UserRoles() {
		for group, gives := range c.Roles {
			if gives == role && (group == everybody || slices.Contains(groups, group)) {
				out = append(out, role)
				break
			}
		}
	}
	return out
}

// claim finds a claim by its name, or by the path that its dots make.
func claim(claims map[string]any, name string) any {
	if v, ok := claims[name]; ok {
		return v
	}
	head, rest, ok := strings.Cut(name, ".")
	inner, isObject := claims[head].(map[string]any)
	if !ok || !isObject {
		return nil
	}
	return claim(inner, rest)
}

// texts are the strings of a claim that is one, or a list of them.
func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, one := range v {
			if s, ok := one.(string); ok {
				out = append(out, s)
			}
		}
		return out
	}
	return nil
}

// personName is how somebody of the provider is called here. It begins with "oidc/",
// which no local name can; what stands behind it is the account that can disable
// them. A "~" stands for "@", and for nothing else.
func personName(claimed string) (account string, err error) {
	if strings.Contains(claimed, "~") {
		return "", fmt.Errorf("%.80q: a name must not hold '~'", claimed)
	}
	account = strings.ReplaceAll(normal(claimed), "@", "~")
	if !userName.MatchString(account) {
		return "", fmt.Errorf("%.80q: a name must be 1 to 63 letters, digits, '.', '_', '-' or '@', with a letter or digit at both ends", claimed)
	}
	return account, nil
}

const personPrefix = "oidc/"

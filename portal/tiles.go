package portal

import (
	"fmt"
	"net/url"
	"strings"
)

// tilesOrigin is what the page's policy must allow for the tiles of a template: a
// scheme and a host, where {s} stands for any subdomain. It is empty for no tiles.
func tilesOrigin(template string) (string, error) {
	if template == "" {
		return "", nil
	}
	const want = `must be a web address with {z}, {x} and {y}, like "https://tile.openstreetmap.org/{z}/{x}/{y}.png", or "" for no streets`
	for _, place := range []string{"{z}", "{x}", "{y}"} {
		if !strings.Contains(template, place) {
			return "", fmt.Errorf("http.tiles_url: %q misses %s: %s", template, place, want)
		}
	}
	u, err := url.Parse(strings.Replace(template, "{s}.", "any.", 1))
	if err != nil {
		return "", fmt.Errorf("http.tiles_url: %w: %s", err, want)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || strings.ContainsAny(u.Host, "*;, '{}") {
		return "", fmt.Errorf("http.tiles_url: %q: %s", template, want)
	}
	host := u.Host
	if strings.Contains(template, "://{s}.") {
		host = "*" + strings.TrimPrefix(host, "any")
	}
	return u.Scheme + "://" + host, nil
}

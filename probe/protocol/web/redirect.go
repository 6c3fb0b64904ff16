package web

import (
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// redirects tells that an answer leads elsewhere. Some servers send a 3xx without a
// Location, which is an answer like any other.
func redirects(resp *http.Response) bool {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return resp.Header.Get("Location") != ""
	}
	return false
}

// redirect makes the request that an answer leads to, by the rules of net/http's
// client: what method, which headers, whether the body goes along.
func (p *probe) redirect(initial, last *ask, ans *answer) (*ask, error) {
	location := ans.Header.Get("Location")
	u, err := last.URL.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("read Location %.100q: %w", location, err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the scheme of Location %.100q is neither http nor https", location)
	}
	if u.Host == "" {
		return nil, fmt.Errorf("location %.100q has no host", location)
	}
	if p.want.UseHTTP3 {
		u.Scheme = "https"
	}
	p.remember(last.URL, ans.Response)
	next := &ask{Request: &http.Request{Method: last.Method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Response: ans.Response}, name: u.Hostname()}
	ans.Request = last.Request
	if relative(location) {
		next.Host, next.name = last.Host, last.name
	}
	if strings.EqualFold(u.Hostname(), last.URL.Hostname()) {
		next.addr = last.addr
	} else if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		next.addr = addr.Unmap()
	}
	withBody := ans.StatusCode == http.StatusTemporaryRedirect || ans.StatusCode == http.StatusPermanentRedirect
	if withBody {
		next.setBody(last.body)
	} else if next.Method != http.MethodHead {
		next.Method = http.MethodGet
	}
	sameSite := within(u.Hostname(), initial.URL.Hostname())
	next.Header = make(http.Header, len(initial.Header)+2)
	for name, values := range initial.Header {
		if !sameSite && slices.Contains(sensitive, name) || !withBody && slices.Contains(ofBody, name) {
			continue
		}
		next.Header[name] = values
	}
	if referer := refererOf(last.URL, u); referer != "" && next.Header.Get("Referer") == "" {
		next.Header.Set("Referer", referer)
	}
	p.addCookies(next)
	return next, nil
}

var (
	sensitive = []string{"Authorization", "Www-Authenticate", "Cookie", "Cookie2", "Proxy-Authorization", "Proxy-Authenticate"}
	ofBody    = []string{"Content-Encoding", "Content-Language", "Content-Location", "Content-Type"}
)

// relative tells that a Location names no host of its own.
func relative(location string) bool {
	u, err := url.Parse(location)
	return err == nil && !u.IsAbs() && u.Host == ""
}

// within tells that host is that of the site or one below it.
func within(host, site string) bool {
	host, site = strings.ToLower(host), strings.ToLower(site)
	return host == site || !strings.ContainsAny(host, ":%") && strings.HasSuffix(host, "."+site)
}

func refererOf(last, next *url.URL) string {
	if last.Scheme == "https" && next.Scheme == "http" {
		return ""
	}
	u := *last
	u.User, u.Fragment = nil, ""
	return u.String()
}

// remember keeps the cookies of an answer for the requests after it.
func (p *probe) remember(u *url.URL, resp *http.Response) {
	if len(resp.Header["Set-Cookie"]) == 0 {
		return
	}
	cookies := resp.Cookies()
	if len(cookies) > maxCookies {
		cookies = cookies[:maxCookies]
	}
	if p.jar == nil {
		p.jar, _ = cookiejar.New(nil) // without options there is nothing to fail
	}
	p.jar.SetCookies(u, cookies)
}

// maxCookies are kept of one answer, which is more than browsers keep of a site's
// page.
const maxCookies = 200

func (p *probe) addCookies(a *ask) {
	if p.jar == nil {
		return
	}
	for _, c := range p.jar.Cookies(a.URL) {
		a.AddCookie(c)
	}
}

// circle says which way the redirects went.
func (p *probe) circle() {
	last := p.jumps[len(p.jumps)-1]
	for i := len(p.jumps) - 2; i >= 0; i-- {
		if p.jumps[i] == last {
			way := p.jumps[i:]
			if len(way) > 4 {
				way = append(slices.Clone(way[:3]), "…", last)
			}
			p.r.Fail(protocol.Redirects, protocol.Transfer, "redirected in a circle: %.600s", strings.Join(way, " → "))
			return
		}
	}
	p.r.Fail(protocol.Redirects, protocol.Transfer, "more than %d redirects, the last from %.200q", maxRedirects, last)
}

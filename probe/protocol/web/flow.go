package web

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/theory/jsonpath"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

// maxSaved is the longest value that one step hands to others, in bytes.
const maxSaved = 8 << 10

// flow plays the module's steps, one after another, with the cookies and values of
// those before. It ends with the first that fails.
type flow struct {
	*probe
	target *ask
	saved  map[string]string
	// page is the body of the step before, and where it came from.
	page []byte
	from *url.URL
}

func (p *probe) flow(target *ask) {
	f := &flow{probe: p, target: target, saved: map[string]string{}}
	steps := p.module.Flow
	redirected := 0
	for i := range steps {
		start := time.Now()
		p.seen.redirects, p.jumps = 0, nil
		ok := f.step(&steps[i])
		redirected += p.seen.redirects
		name := cmp.Or(steps[i].Name, fmt.Sprint(i+1))
		p.r.Add("probe_http_step_duration_seconds", time.Since(start).Seconds(), "step", name)
		p.r.Add("probe_http_step_success", number(ok), "step", name)
		if !ok {
			p.r.Reason.Words = fmt.Sprintf("step %q: %s", name, p.r.Reason.Words)
			break
		}
	}
	p.seen.redirects = redirected
}

// step sends one request and looks at its answer.
func (f *flow) step(s *definition.Step) bool {
	a, err := f.build(s)
	if err != nil {
		f.r.Fail(protocol.Internal, protocol.Sent, "%.300v", err)
		return false
	}
	ans, _ := f.follow(a)
	if ans == nil {
		return false
	}
	defer ans.done()
	f.note(ans)
	f.remember(ans.Request.URL, ans.Response)
	keep := maxKept
	if limit := int(f.want.BodySizeLimit); limit > 0 {
		keep = limit
	}
	b, err := f.read(ans, f.want.Compression, int64(f.want.BodySizeLimit), keep, f.req.Keep.Hash)
	f.seen.size = b.size
	if err != nil {
		f.failBody(ans, b, err)
	}
	f.page, f.from = b.kept, ans.Request.URL
	f.check(s, ans, b)
	f.keepResponse(ans, b)
	return f.r.Reason.Code == "" && f.save(s, ans, b)
}

// build makes a step's request: values of steps before are put in, and the hidden
// fields of the page before where the form goes.
func (f *flow) build(s *definition.Step) (*ask, error) {
	u, err := f.target.URL.Parse(f.fillIn(s.URL))
	if err != nil {
		return nil, fmt.Errorf("read the step's url: %w", err)
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("the step's url %.100q is neither http nor https", u)
	}
	a := &ask{Request: &http.Request{Method: s.Method, URL: u, Host: u.Host, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1}, name: u.Hostname()}
	sameHost := strings.EqualFold(u.Host, f.target.URL.Host)
	if sameHost {
		a.addr, a.Host, a.name = f.target.addr, f.target.Host, f.target.name
	}
	a.Header = make(http.Header, len(f.target.Header)+len(s.Headers)+2)
	for name, values := range f.target.Header {
		if sameHost || !slices.Contains(sensitive, name) {
			a.Header[name] = values
		}
	}
	for name, value := range s.Headers {
		a.Header.Set(name, f.fillIn(value))
	}
	body := f.fillIn(s.Body)
	if len(s.Form) > 0 {
		form := url.Values{}
		for _, field := range hiddenFields(f.page, f.from, u) {
			form.Set(field[0], field[1])
		}
		for name, value := range s.Form {
			form.Set(name, f.fillIn(value))
		}
		body = form.Encode()
		a.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	a.setBody([]byte(body))
	if a.Method == "" {
		a.Method = http.MethodGet
		if body != "" {
			a.Method = http.MethodPost
		}
	}
	f.addCookies(a)
	return a, nil
}

var placeholder = regexp.MustCompile(`\$\{([A-Za-z0-9_.-]+)\}`)

// fillIn puts saved values in the place of ${name}; a name that was not saved stays.
func (f *flow) fillIn(s string) string {
	if !strings.Contains(s, "${") {
		return s
	}
	return placeholder.ReplaceAllStringFunc(s, func(m string) string {
		if v, ok := f.saved[m[2:len(m)-1]]; ok {
			return v
		}
		return m
	})
}

// check looks at what the step wants of its answer.
func (f *flow) check(s *definition.Step, ans *answer, b *body) {
	ok := ans.StatusCode >= 200 && ans.StatusCode < 300
	want := "200 to 299"
	if len(s.Status) > 0 {
		ok = slices.Contains(s.Status, ans.StatusCode)
		want = strings.Trim(fmt.Sprint(s.Status), "[]")
	}
	if !ok {
		f.r.Fail(protocol.Status, protocol.FirstByte, "status %d %s, want %s", ans.StatusCode, http.StatusText(ans.StatusCode), want)
		return
	}
	for _, re := range s.Absent {
		if re.Match(b.kept) {
			f.r.Fail(protocol.Body, protocol.Transfer, "the body matches %.100q", re.String())
		}
	}
	for _, re := range s.Contains {
		if !re.Match(b.kept) {
			f.r.Fail(protocol.Body, protocol.Transfer, "the body%s does not match %.100q", b.part(), re.String())
		}
	}
	if len(s.JSON) > 0 {
		if v, ok := f.decoded(b); ok {
			f.values(v, s.JSON)
		}
	}
}

// save takes the values that later steps need.
func (f *flow) save(s *definition.Step, ans *answer, b *body) bool {
	names := make([]string, 0, len(s.Save))
	for name := range s.Save {
		names = append(names, name)
	}
	slices.Sort(names) // of several that are missing always the same is named
	for _, name := range names {
		value, ok := f.value(s.Save[name], ans, b)
		if !ok {
			f.r.Fail(protocol.Body, protocol.Transfer, "the answer has no value to save as %q", name)
			return false
		}
		if len(value) > maxSaved {
			f.r.Fail(protocol.TooLarge, protocol.Transfer, "the value to save as %q has more than %s", name, bytesOf(maxSaved))
			return false
		}
		f.saved[name] = value
	}
	return true
}

func (f *flow) value(from definition.Source, ans *answer, b *body) (string, bool) {
	switch {
	case from.JSON != "":
		path, err := jsonpath.Parse(from.JSON)
		if err != nil {
			return "", false
		}
		v, ok := f.decoded(b)
		if !ok {
			return "", false
		}
		nodes := path.Select(v)
		if len(nodes) == 0 {
			return "", false
		}
		return plain(nodes[0]), true
	case from.Header != "":
		v := ans.Header.Values(from.Header)
		return strings.Join(v, ", "), len(v) > 0
	case from.Regexp.Regexp != nil:
		m := from.Regexp.FindSubmatch(b.kept)
		if m == nil {
			return "", false
		}
		return string(m[min(1, len(m)-1)]), true
	case from.Cookie != "":
		return f.cookie(from.Cookie, ans)
	}
	return "", false
}

func (f *flow) cookie(name string, ans *answer) (string, bool) {
	if f.jar == nil {
		return "", false
	}
	for _, c := range f.jar.Cookies(ans.Request.URL) {
		if c.Name == name {
			return c.Value, true
		}
	}
	return "", false
}

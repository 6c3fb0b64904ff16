package web

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/google/cel-go/cel"
	blackbox "github.com/prometheus/blackbox_exporter/config"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// judge reads the body of the answer that counts, and tells whether all is as the
// module wants it. read is false for a redirect that was not followed: its body is
// read only where something is asked of it.
func (p *probe) judge(a *answer, read bool) {
	p.note(a)
	fine := p.fine(a.StatusCode)
	if !fine {
		p.r.Fail(protocol.Status, protocol.FirstByte, "%s", p.badStatus(a.StatusCode))
	}
	if fine && !p.headers(a.Header) {
		fine, p.seen.badRegexp = false, true
	}
	keep := p.kept(fine)
	var b *body
	if read || keep > 0 || p.req.Keep.Hash || p.module.Expect.SHA256 != "" {
		b = p.assert(a, fine, keep)
	}
	p.version(a)
	if a.TLS != nil || p.seen.watch != nil {
		if p.want.FailIfSSL {
			p.r.Fail(protocol.TLSUnexpected, protocol.TLS, "%s was asked over TLS, which must not be", a.Request.URL.Host)
		}
	} else if p.want.FailIfNotSSL {
		p.r.Fail(protocol.TLSMissing, protocol.TLS, "%s was asked without TLS", a.Request.URL.Host)
	}
	p.keepResponse(a, b)
}

// note takes what the samples tell from the headers.
func (p *probe) note(a *answer) {
	p.seen.status, p.seen.length = a.StatusCode, a.ContentLength
	p.seen.version, _ = strconv.ParseFloat(strings.TrimPrefix(a.Proto, "HTTP/"), 64)
	if t, err := http.ParseTime(a.Header.Get("Last-Modified")); err == nil {
		p.seen.modified = t
	}
}

func (p *probe) fine(status int) bool {
	if len(p.want.ValidStatusCodes) > 0 {
		return slices.Contains(p.want.ValidStatusCodes, status)
	}
	return status >= 200 && status < 300
}

func (p *probe) badStatus(status int) string {
	want := "200 to 299"
	if len(p.want.ValidStatusCodes) > 0 {
		want = strings.Trim(fmt.Sprint(p.want.ValidStatusCodes), "[]")
	}
	return strings.TrimSpace(fmt.Sprintf("status %d %s", status, http.StatusText(status))) + ", want " + want
}

// headers checks them against the module's expressions.
func (p *probe) headers(h http.Header) bool {
	for _, m := range p.want.FailIfHeaderMatchesRegexp {
		values, ok := p.headerValues(h, m)
		if !ok {
			return false
		}
		for _, v := range values {
			if m.Regexp.MatchString(v) {
				p.r.Fail(protocol.Header, protocol.FirstByte, "header %s is %.100q, which matches %.100q", m.Header, v, m.Regexp.String())
				return false
			}
		}
	}
	for _, m := range p.want.FailIfHeaderNotMatchesRegexp {
		values, ok := p.headerValues(h, m)
		if !ok {
			return false
		}
		if len(values) > 0 && !slices.ContainsFunc(values, m.Regexp.MatchString) {
			p.r.Fail(protocol.Header, protocol.FirstByte, "header %s is %.100q, which does not match %.100q", m.Header, values[0], m.Regexp.String())
			return false
		}
	}
	return true
}

func (p *probe) headerValues(h http.Header, m blackbox.HeaderMatch) ([]string, bool) {
	values := h[textproto.CanonicalMIMEHeaderKey(m.Header)]
	if len(values) == 0 && !m.AllowMissing {
		p.r.Fail(protocol.Header, protocol.FirstByte, "header %s is missing", m.Header)
		return nil, false
	}
	return values, true
}

// kept is how much of the body must be at hand, in bytes.
func (p *probe) kept(fine bool) int {
	e := &p.module.Expect
	if !fine || !p.hasRegexps() && !p.hasCEL() && len(e.JSON) == 0 {
		return p.req.Keep.Body
	}
	if limit := int64(p.want.BodySizeLimit); limit > 0 {
		return max(int(limit), p.req.Keep.Body)
	}
	return max(maxKept, p.req.Keep.Body)
}

func (p *probe) hasRegexps() bool {
	return len(p.want.FailIfBodyMatchesRegexp) > 0 || len(p.want.FailIfBodyNotMatchesRegexp) > 0
}

func (p *probe) hasCEL() bool {
	return p.want.FailIfBodyJsonMatchesCEL != nil || p.want.FailIfBodyJsonNotMatchesCEL != nil
}

// assert reads the body and, unless something was wrong before, looks into it.
func (p *probe) assert(a *answer, fine bool, keep int) *body {
	e := &p.module.Expect
	b, err := p.read(a, p.want.Compression, int64(p.want.BodySizeLimit), keep, e.SHA256 != "" || p.req.Keep.Hash)
	p.seen.size = b.size
	if err != nil {
		p.failBody(a, b, err)
		p.seen.badRegexp = p.seen.badRegexp || fine && p.hasRegexps()
		p.seen.badCEL = fine && !p.hasRegexps() && p.hasCEL()
		return b
	}
	if !fine {
		return b
	}
	if p.hasRegexps() && !p.matches(b) {
		p.seen.badRegexp = true
		return b
	}
	if p.hasCEL() && !p.evaluate(b) {
		p.seen.badCEL = true
		return b
	}
	p.expect(b)
	return b
}

// matches looks for the module's expressions in what was kept of the body.
func (p *probe) matches(b *body) bool {
	for _, re := range p.want.FailIfBodyMatchesRegexp {
		if re.Match(b.kept) {
			p.r.Fail(protocol.Body, protocol.Transfer, "the body matches %.100q", re.String())
			return false
		}
	}
	for _, re := range p.want.FailIfBodyNotMatchesRegexp {
		if !re.Match(b.kept) {
			p.r.Fail(protocol.Body, protocol.Transfer, "the body%s does not match %.100q", b.part(), re.String())
			return false
		}
	}
	return true
}

// part tells that only the beginning was looked at.
func (b *body) part() string {
	if !b.cut {
		return ""
	}
	return fmt.Sprintf(" (its first %s of %s)", bytesOf(int64(len(b.kept))), bytesOf(b.size))
}

// decoded reads the body as JSON.
func (p *probe) decoded(b *body) (any, bool) {
	var v any
	if b.cut {
		p.r.Fail(protocol.TooLarge, protocol.Transfer, "the body has %s, of which %s are read as JSON: set body_size_limit", bytesOf(b.size), bytesOf(int64(len(b.kept))))
		return nil, false
	}
	if err := json.Unmarshal(b.kept, &v); err != nil {
		p.r.Fail(protocol.Body, protocol.Transfer, "the body is no JSON: %.100v", err)
		return nil, false
	}
	return v, true
}

// evaluate asks the CEL expressions about the body.
func (p *probe) evaluate(b *body) bool {
	v, ok := p.decoded(b)
	if !ok {
		return false
	}
	return p.cel(p.want.FailIfBodyJsonMatchesCEL, v, true) && p.cel(p.want.FailIfBodyJsonNotMatchesCEL, v, false)
}

// cel tells whether the program says something else than bad, or there is none.
func (p *probe) cel(program *blackbox.CELProgram, v any, bad bool) bool {
	if program == nil {
		return true
	}
	result, _, err := program.ContextEval(p.ctx, map[string]any{"body": v})
	switch {
	case err != nil:
		p.r.Fail(protocol.Body, protocol.Transfer, "evaluate %.100q: %.150v", program.Expression, err)
		return false
	case result.Type() != cel.BoolType:
		p.r.Fail(protocol.Body, protocol.Transfer, "%.100q is neither true nor false", program.Expression)
		return false
	case result.Value() == bad:
		p.r.Fail(protocol.Body, protocol.Transfer, "%.100q is %v", program.Expression, bad)
		return false
	}
	return true
}

// expect asks what blackbox_exporter does not.
func (p *probe) expect(b *body) {
	e := &p.module.Expect
	if e.MinSize > 0 && b.size < e.MinSize {
		p.r.Fail(protocol.Content, protocol.Transfer, "the body has %s, want at least %s", bytesOf(b.size), bytesOf(e.MinSize))
	}
	if e.MaxSize > 0 && b.size > e.MaxSize {
		p.r.Fail(protocol.Content, protocol.Transfer, "the body has %s, want at most %s", bytesOf(b.size), bytesOf(e.MaxSize))
	}
	if e.SHA256 != "" {
		if got := hex.EncodeToString(b.sum.Sum(nil)); !strings.EqualFold(got, e.SHA256) {
			p.r.Fail(protocol.Content, protocol.Transfer, "the body's SHA-256 is %s, want %.64s", got, e.SHA256)
		}
	}
	if len(e.JSON) == 0 {
		return
	}
	if v, ok := p.decoded(b); ok {
		p.values(v, e.JSON)
	}
}

func (p *probe) version(a *answer) {
	if len(p.want.ValidHTTPVersions) > 0 && !slices.Contains(p.want.ValidHTTPVersions, a.Proto) {
		p.r.Fail(protocol.Version, protocol.FirstByte, "the server speaks %s, want %s", a.Proto, strings.Join(p.want.ValidHTTPVersions, " or "))
	}
}

// keepResponse keeps for evidence what was asked for.
func (p *probe) keepResponse(a *answer, b *body) {
	k := p.req.Keep
	if !k.Header && k.Body == 0 && !k.Hash {
		return
	}
	resp := &protocol.Response{Status: a.Proto + " " + a.Status}
	if k.Header {
		resp.Header = ordered(a)
	}
	if b != nil {
		resp.Size, resp.Whole = b.size, b.whole
		resp.Body = slices.Clone(b.kept[:min(len(b.kept), k.Body)])
		if b.sum != nil {
			copy(resp.SHA256[:], b.sum.Sum(nil))
		}
	}
	p.r.Response = resp
}

package browser

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"time"

	"github.com/atoll-mesh/atoll/probe/protocol"
)

// visit is one load of a page.
type visit struct {
	ctx     context.Context
	req     *protocol.Request
	res     *protocol.Result
	page    *url.URL
	proxy   *proxy
	process *process
	memory  int64
	client  *client
	seen    *tally
}

func (v *visit) run() {
	v.client = newClient(v.process.out, v.event)
	go v.client.read(v.process.in)
	if !v.prepare() {
		return
	}
	within, cancel := v.ctx, context.CancelFunc(func() {})
	if deadline, ok := v.ctx.Deadline(); ok && time.Until(deadline) > 2*reserve {
		within, cancel = context.WithDeadline(v.ctx, deadline.Add(-reserve))
	}
	loaded := v.navigate(within)
	if loaded {
		v.find(within)
	}
	cancel()
	v.measure()
	if v.wantsShot() {
		v.shoot()
	}
	_, _ = v.client.send("Browser.close", nil)
}

// event takes what the browser tells; it must not wait.
func (v *visit) event(method string, params json.RawMessage) {
	switch method {
	case "Fetch.requestPaused":
		v.forward(params, "Fetch.continueRequest", nil)
	case "Fetch.authRequired":
		v.forward(params, "Fetch.continueWithAuth", map[string]any{"authChallengeResponse": map[string]string{
			"response": "ProvideCredentials", "username": proxyUser, "password": v.proxy.password,
		}})
	default:
		v.seen.event(method, params)
	}
}

// forward lets a request that was held go on. It is only the one that teaches the
// password: the proxy is all that asks for one then.
func (v *visit) forward(params json.RawMessage, method string, more map[string]any) {
	var p struct {
		RequestID string `json:"requestId"`
	}
	if json.Unmarshal(params, &p) != nil {
		return
	}
	if more == nil {
		more = map[string]any{}
	}
	more["requestId"] = p.RequestID
	_, _ = v.client.send(method, more)
}

// prepare opens a page and teaches it the way out.
func (v *visit) prepare() bool {
	if err := v.attach(); err != nil {
		switch {
		case v.process.fatEnd():
			v.res.Fail(protocol.TooLarge, protocol.Connect, "Chromium took more than %d MiB", v.memory>>20)
		case errors.Is(err, context.DeadlineExceeded), errors.Is(err, errGone):
			v.res.Fail(protocol.Unsupported, protocol.Connect, "%s", v.process.whyNot(v.ctx))
		default:
			v.res.Fail(protocol.Internal, protocol.Connect, "%v", err)
		}
		return false
	}
	return true
}

func (v *visit) attach() error {
	var target struct {
		ID string `json:"targetId"`
	}
	if err := v.client.call(v.ctx, "Target.createTarget", map[string]any{"url": "about:blank"}, &target); err != nil {
		return err
	}
	var session struct {
		ID string `json:"sessionId"`
	}
	if err := v.client.call(v.ctx, "Target.attachToTarget", map[string]any{"targetId": target.ID, "flatten": true}, &session); err != nil {
		return err
	}
	v.client.attach(session.ID)
	width, height := size(&v.req.Module.Browser)
	for _, c := range []struct {
		method string
		params map[string]any
	}{
		{"Page.enable", nil},
		{"Network.enable", map[string]any{"maxTotalBufferSize": 1 << 20, "maxResourceBufferSize": 1 << 16}},
		{"Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false}},
		{"Security.setIgnoreCertificateErrors", map[string]any{"ignore": v.req.Module.HTTP.HTTPClientConfig.TLSConfig.InsecureSkipVerify}},
		{"Fetch.enable", map[string]any{"handleAuthRequests": true, "patterns": []map[string]string{{"urlPattern": "*"}}}},
		{"Page.navigate", map[string]any{"url": "http://" + warmHost + "/"}},
		{"Fetch.disable", nil},
		{"Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": observer}},
	} {
		if err := v.client.call(v.ctx, c.method, c.params, nil); err != nil {
			return err
		}
		if c.method == "Page.navigate" && !v.seen.await(v.ctx, func(t *tally) bool { return t.loaded }) {
			return v.ctx.Err()
		}
	}
	v.seen.reset()
	return nil
}

// navigate loads the page and waits until it and the network are done.
func (v *visit) navigate(ctx context.Context) bool {
	var answer struct {
		Error  string `json:"errorText"`
		Loader string `json:"loaderId"`
	}
	err := v.client.call(ctx, "Page.navigate", map[string]any{"url": v.page.String()}, &answer)
	v.dialled()
	switch {
	case err != nil:
		v.broken(ctx, err)
		return false
	case answer.Error != "":
		v.failed(answer.Error)
		return false
	}
	settle := time.Duration(v.req.Module.Browser.Settle)
	if settle <= 0 {
		settle = defaultSettle
	}
	if !v.seen.quiet(ctx, v.client.done, settle) {
		v.broken(ctx, ctx.Err())
		return false
	}
	if status := v.seen.status(); status >= 400 {
		v.res.Fail(protocol.Status, protocol.FirstByte, "status %d, want less than 400", status)
	}
	return true
}

// dialled takes the times and the address of the first connection to the page's host.
func (v *visit) dialled() {
	if first, ok := v.proxy.first(v.page.Hostname()); ok {
		v.res.Address = first.Address
		v.res.Phases[protocol.Resolve] = first.Phases[protocol.Resolve]
		v.res.Phases[protocol.Connect] = first.Phases[protocol.Connect]
	}
}

// broken says why a load does not end.
func (v *visit) broken(ctx context.Context, err error) {
	switch {
	case v.process.fatEnd():
		v.res.Fail(protocol.TooLarge, protocol.Transfer, "the page made Chromium take more than %d MiB", v.memory>>20)
	case ctx.Err() != nil && v.seen.status() != 0:
		v.res.Fail(protocol.TransferTimeout, protocol.Transfer, "the page did not end to load in time: %s", v.seen.words())
	case ctx.Err() != nil:
		v.res.Fail(protocol.RequestTimeout, protocol.FirstByte, "the page did not answer in time")
	default:
		v.res.Fail(protocol.Internal, protocol.Transfer, "%v", err)
	}
}

// failed translates Chromium's word for why a page has none; where it is about the
// connection, the proxy knows more.
func (v *visit) failed(text string) {
	if first, ok := v.proxy.first(v.page.Hostname()); ok && first.Reason.Code != "" {
		v.res.Fail(first.Reason.Code, first.Reason.Phase, "%s", first.Reason.Words)
		return
	}
	code, phase := codeOf(text)
	v.res.Fail(code, phase, "the browser says %.100s", text)
}

func codeOf(text string) (protocol.Code, protocol.Phase) {
	switch text {
	case "net::ERR_CERT_DATE_INVALID":
		return protocol.TLSExpired, protocol.TLS
	case "net::ERR_CERT_COMMON_NAME_INVALID":
		return protocol.TLSName, protocol.TLS
	case "net::ERR_CERT_AUTHORITY_INVALID", "net::ERR_CERT_INVALID":
		return protocol.TLSUntrusted, protocol.TLS
	case "net::ERR_CERT_REVOKED":
		return protocol.TLSRevoked, protocol.TLS
	case "net::ERR_TOO_MANY_REDIRECTS":
		return protocol.Redirects, protocol.FirstByte
	case "net::ERR_TIMED_OUT", "net::ERR_CONNECTION_TIMED_OUT":
		return protocol.RequestTimeout, protocol.FirstByte
	case "net::ERR_SSL_PROTOCOL_ERROR", "net::ERR_SSL_VERSION_OR_CIPHER_MISMATCH":
		return protocol.TLSHandshake, protocol.TLS
	case "net::ERR_INVALID_HTTP_RESPONSE", "net::ERR_HTTP2_PROTOCOL_ERROR":
		return protocol.Malformed, protocol.FirstByte
	}
	return protocol.ConnectionReset, protocol.FirstByte
}

// find looks for the selector, until it is there.
func (v *visit) find(ctx context.Context) {
	selector := v.req.Module.Browser.Selector
	if selector == "" {
		return
	}
	expression := "document.querySelector(" + strconv.QuoteToASCII(selector) + ") !== null"
	for {
		var there bool
		if err := v.evaluate(ctx, expression, &there); err != nil {
			if ctx.Err() == nil {
				v.res.Fail(protocol.BadTarget, protocol.Transfer, "browser.selector is %.100q: %v", selector, err)
				return
			}
		}
		if there {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			v.res.Fail(protocol.Body, protocol.Transfer, "nothing on the page matches the selector %.100q", selector)
			return
		}
	}
}

func (v *visit) evaluate(ctx context.Context, expression string, into any) error {
	var answer struct {
		Result struct {
			Value json.RawMessage `json:"value"`
		} `json:"result"`
		Exception *struct {
			Text string `json:"text"`
		} `json:"exceptionDetails"`
	}
	if err := v.client.call(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &answer); err != nil {
		return err
	}
	if answer.Exception != nil {
		return fmt.Errorf("the page's script says %.100s", answer.Exception.Text)
	}
	return json.Unmarshal(answer.Result.Value, into)
}

func (v *visit) wantsShot() bool {
	switch v.req.Module.Browser.Screenshot {
	case "always":
		return true
	case "never":
		return false
	}
	return v.res.Reason.Code != ""
}

// shoot keeps a picture, of lower quality where it would be too large.
func (v *visit) shoot() {
	for _, quality := range []int{70, 30} {
		var shot struct {
			Data string `json:"data"`
		}
		if v.client.call(v.ctx, "Page.captureScreenshot", map[string]any{"format": "jpeg", "quality": quality}, &shot) != nil {
			return
		}
		if base64.StdEncoding.DecodedLen(len(shot.Data)) > maxShot {
			continue
		}
		if b, err := base64.StdEncoding.DecodeString(shot.Data); err == nil {
			if v.res.Response == nil {
				v.res.Response = &protocol.Response{}
			}
			v.res.Response.Screenshot = b
		}
		return
	}
}

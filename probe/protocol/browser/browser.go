package browser

import (
	"context"
	"net/url"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

const (
	// defaultLoads is how many pages are loaded at a time: each takes a process group
	// of some hundred megabytes.
	defaultLoads  = 2
	defaultWidth  = 1280
	defaultHeight = 800
	maxSide       = 8192
	defaultSettle = 500 * time.Millisecond
	// reserve of a probe's time is kept for what is measured after the load.
	reserve = time.Second
	// defaultMemory is what the processes of one load may hold together, in bytes.
	defaultMemory = 1 << 30
	// maxShot bounds a screenshot, in bytes.
	maxShot = 1 << 20
)

// Browser loads pages, a few at a time. It is for concurrent use.
type Browser struct {
	slots  chan struct{}
	memory int64
}

// New makes a prober that loads at most loads pages at a time, 2 if 0.
func New(loads int) *Browser {
	if loads <= 0 {
		loads = defaultLoads
	}
	return &Browser{slots: make(chan struct{}, loads), memory: defaultMemory}
}

// Table has the prober by the name that a module gives as prober.
func (b *Browser) Table() map[string]protocol.Func {
	return map[string]protocol.Func{"browser": b.Load}
}

// Load loads the page at the target, by module key browser; tls_config's
// insecure_skip_verify is that of module key http.
func (b *Browser) Load(ctx context.Context, r *protocol.Request) *protocol.Result {
	res := &protocol.Result{Start: time.Now()}
	b.load(ctx, r, res)
	res.Finish(&r.Module.Expect)
	res.Up = res.Reason.Code == ""
	return res
}

func (b *Browser) load(ctx context.Context, r *protocol.Request, res *protocol.Result) {
	page, err := url.Parse(r.Target)
	if err != nil || page.Scheme != "http" && page.Scheme != "https" || page.Hostname() == "" {
		res.Fail(protocol.BadTarget, protocol.Resolve, "target is %.100q: want a URL that begins with http:// or https://", r.Target)
		return
	}
	path, err := find(r.Module.Browser.Path)
	if err != nil {
		res.Fail(protocol.Unsupported, protocol.Connect, "%v", err)
		return
	}
	select {
	case b.slots <- struct{}{}:
		defer func() { <-b.slots }()
	case <-ctx.Done():
		res.Fail(protocol.Internal, protocol.Connect, "%d other pages are being loaded", cap(b.slots))
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	proxy, err := openProxy(ctx, r)
	if err != nil {
		cancel()
		res.Fail(protocol.Internal, protocol.Connect, "%v", err)
		return
	}
	defer func() { cancel(); proxy.close() }()
	width, height := size(&r.Module.Browser)
	chromium, err := launch(path, proxy.ln.Addr().String(), width, height, b.memory)
	if err != nil {
		res.Fail(protocol.Unsupported, protocol.Connect, "%v", err)
		return
	}
	v := &visit{ctx: ctx, req: r, res: res, page: page, proxy: proxy, process: chromium, memory: b.memory, seen: newTally()}
	v.run()
	if err := chromium.stop(); err != nil {
		res.Fail(protocol.Internal, protocol.Transfer, "remove the profile: %v", err)
	}
	<-v.client.done
}

func size(m *definition.Browser) (width, height int) {
	width, height = defaultWidth, defaultHeight
	if m.Width > 0 {
		width = min(m.Width, maxSide)
	}
	if m.Height > 0 {
		height = min(m.Height, maxSide)
	}
	return width, height
}

package demo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"
)

// Demo is an island with something to watch.
type Demo struct{ opts Options }

// New checks the options; it starts nothing.
func New(opts Options) (*Demo, error) {
	opts = opts.withDefaults()
	if err := opts.validate(); err != nil {
		return nil, err
	}
	return &Demo{opts: opts}, nil
}

// Run shows the demo until ctx ends or the island fails. Whatever happens, the
// services are stopped and the temporary directory is gone when it returns.
func (d *Demo) Run(ctx context.Context) (err error) {
	screen := newScreen(d.opts.Out)
	dir, removeDir, err := d.directory()
	if err != nil {
		return err
	}
	defer func() {
		said, removeErr := removeDir()
		screen.end()
		screen.print("%s", said)
		err = errors.Join(err, removeErr)
	}()
	logger, closeLog, err := d.logger(dir)
	if err != nil {
		return err
	}
	defer closeLog()

	// What is watched outlives the island, so that stopping looks like no outage.
	shop, err := openShop(logger)
	if err != nil {
		return err
	}
	defer shop.close()
	inbox, err := openInbox(screen, logger)
	if err != nil {
		return err
	}
	defer inbox.close()

	addr, err := freeAddr(d.opts.Listen)
	if err != nil {
		return err
	}
	configPath, err := writeFiles(dir, site{Addr: addr, Services: shop.services, Inbox: inbox.url(), Pace: d.opts.pace})
	if err != nil {
		return err
	}
	screen.print("Starting an island and a shop of three services …")
	return d.show(ctx, screen, shop, stage{dir: dir, config: configPath, addr: addr, log: logger})
}

// stage is where one run takes place.
type stage struct {
	dir, config, addr string
	log               *slog.Logger
}

// show runs the island, then the traffic and the progress line, and stops them
// in reverse.
func (d *Demo) show(ctx context.Context, screen *screen, shop *shop, st stage) error {
	start := d.opts.Start
	if start == nil {
		start = d.startIsland(st.log)
	}
	islandCtx, stopIsland := context.WithCancel(context.WithoutCancel(ctx))
	defer stopIsland()
	island := make(chan error, 1)
	go func() { island <- start(islandCtx, st.dir, st.config) }()

	client := newClient(st.addr)
	defer client.close()
	if err := client.waitReady(ctx, island); err != nil {
		return err
	}
	if ctx.Err() == nil {
		screen.print("%s", d.welcome(st, shop))
	}

	bursts := schedule{every: d.opts.BurstEvery, length: d.opts.BurstFor, day: d.opts.pace.Day, began: time.Now()}
	shop.setSchedule(bursts)
	actors, stopActors := context.WithCancel(ctx)
	defer stopActors()
	var wg sync.WaitGroup
	wg.Go(func() { shop.traffic(actors) })
	wg.Go(func() { watch(actors, screen, client, bursts, d.opts.pace.Poll) })

	var err error
	select {
	case <-ctx.Done():
		screen.end()
		screen.print("Stopping …")
	case err = <-island:
		err = early(err)
	}
	stopActors()
	wg.Wait()
	if err != nil {
		return err
	}
	stopIsland()
	return <-island
}

// early explains an island that ended before it was asked to.
func early(err error) error {
	if err == nil {
		return errors.New("the island ended by itself")
	}
	return fmt.Errorf("the island ended: %w", err)
}

func (d *Demo) directory() (dir string, remove func() (string, error), err error) {
	if d.opts.Dir != "" {
		if dir, err = filepath.Abs(d.opts.Dir); err != nil {
			return "", nil, fmt.Errorf("find the demo's directory: %w", err)
		}
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return "", nil, fmt.Errorf("make the demo's directory: %w", err)
		}
		return dir, func() (string, error) { return "Stopped. Kept " + dir, nil }, nil
	}
	if dir, err = os.MkdirTemp("", "atoll-demo-"); err != nil {
		return "", nil, fmt.Errorf("make the demo's directory: %w", err)
	}
	return dir, func() (string, error) {
		if err := os.RemoveAll(dir); err != nil {
			return "Stopped. Not all of " + dir + " could be removed.", fmt.Errorf("remove the demo's directory: %w", err)
		}
		return "Stopped. Removed " + dir, nil
	}, nil
}

// logger keeps the terminal for people: by default, logs go to a file.
func (d *Demo) logger(dir string) (*slog.Logger, func(), error) {
	if d.opts.Logger != nil {
		return d.opts.Logger, func() {}, nil
	}
	f, err := os.Create(filepath.Join(dir, logFile))
	if err != nil {
		return nil, nil, fmt.Errorf("make the demo's log: %w", err)
	}
	// Nothing is lost by an error of Close: the file is removed or was flushed.
	return slog.New(slog.NewTextHandler(f, nil)), func() { _ = f.Close() }, nil
}

const logFile = "atoll.log"

// freeAddr returns want, or the same host with the next free port. The port is
// free for an instant only; whoever loses the race is told so by the island.
func freeAddr(want string) (string, error) {
	host, portText, err := net.SplitHostPort(want)
	if err != nil {
		return "", err
	}
	first, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", fmt.Errorf("listen address %q: port %q is not a number from 0 to 65535", want, portText)
	}
	var last error
	for port := first; port < first+20 && port <= 65535; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.FormatUint(port, 10)))
		if err != nil {
			last = err
			continue
		}
		addr := l.Addr().String()
		if err := l.Close(); err != nil {
			return "", fmt.Errorf("try the port %d: %w", port, err)
		}
		return addr, nil
	}
	return "", fmt.Errorf("find a free port from %d on: %w; name another with --listen", first, last)
}

// serve starts an HTTP server on a free loopback port.
func serve(h http.Handler, logger *slog.Logger) (*server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	s := &server{addr: l.Addr().String(), done: make(chan struct{})}
	s.http = &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn)}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("demo server ended", "address", s.addr, "err", err)
		}
	}()
	return s, nil
}

type server struct {
	addr string
	http *http.Server
	done chan struct{}
}

// Addr is host:port.
func (s *server) Addr() string { return s.addr }

func (s *server) url() string { return "http://" + s.addr }

func (s *server) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close() // its connections are cut; there is nobody to tell
	}
	<-s.done
}

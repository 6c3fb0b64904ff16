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
	"sync"
	"time"
)

// Demo is a network of islands with something to watch.
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
	began := time.Now()
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

	// What is watched outlives the islands, so that stopping looks like no outage.
	scenery, err := d.openScenery(dir, screen, logger)
	if err != nil {
		return err
	}
	defer scenery.close()
	isles, err := d.cast(dir, scenery.shop)
	if err != nil {
		return err
	}
	if err := scenery.furnish(isles, d.opts.pace); err != nil {
		return err
	}
	papers, err := documents(scenery.scene(isles, d.opts.pace))
	if err != nil {
		return err
	}
	return d.show(ctx, screen, stage{isles: isles, scenery: scenery, documents: papers, began: began})
}

// stage is where one run takes place.
type stage struct {
	isles     []isle // the first is the one to look at
	scenery   *scenery
	documents []document
	began     time.Time
}

// show runs the islands, then the traffic and the progress line, and stops them
// in reverse.
func (d *Demo) show(ctx context.Context, screen *screen, st stage) error {
	step := func(what string) {
		screen.progress(fmt.Sprintf("%4.1f s  %s …", time.Since(st.began).Seconds(), what))
	}
	screen.print("Starting %s and a shop of three services …", plural(len(st.isles)))
	crewCtx, stopCrew := context.WithCancel(context.WithoutCancel(ctx))
	defer stopCrew()
	crew := make(chan error, 1)
	go func() { crew <- d.crew(crewCtx, st) }()

	client := newClient(st.isles[0].Addr)
	defer client.close()
	if err := st.waitReady(ctx, crew, step); err != nil {
		return err
	}
	if err := unite(ctx, st.isles, st.documents, step); err != nil && ctx.Err() == nil {
		stopCrew()
		return errors.Join(err, <-crew)
	}
	bursts := d.begin(st)
	if ctx.Err() == nil {
		screen.end()
		screen.print("%s", d.welcome(st))
		if err := d.opts.open("http://" + st.isles[0].Addr + "/"); err != nil {
			screen.print("No browser was opened: %v", err)
		}
	}

	actors, stopActors := context.WithCancel(ctx)
	defer stopActors()
	var wg sync.WaitGroup
	wg.Go(func() { st.scenery.shop.traffic(actors) })
	wg.Go(func() { watch(actors, screen, client, bursts, d.opts.pace.Poll) })

	var err error
	select {
	case <-ctx.Done():
		screen.end()
		screen.print("Stopping …")
	case err = <-crew:
		err = early(err)
	}
	stopActors()
	wg.Wait()
	if err != nil {
		return err
	}
	stopCrew()
	return <-crew
}

// begin sets the clocks of what goes wrong: payment, and the way from the last island
// to the shop, which is out of step with it.
func (d *Demo) begin(st stage) schedule {
	now := time.Now()
	bursts := schedule{every: d.opts.BurstEvery, length: d.opts.BurstFor, first: min(d.opts.BurstEvery/4, d.opts.pace.Calm), day: d.opts.pace.Day, began: now}
	st.scenery.shop.setSchedule(bursts)
	cut := bursts
	cut.every = d.opts.BurstEvery * 3 / 2
	st.scenery.world.setFault(fault{site: st.scenery.shop.entrance().Addr(), from: len(st.isles) - 1, schedule: cut})
	return bursts
}

// waitReady returns nil once all islands are ready or ctx has ended.
func (st stage) waitReady(ctx context.Context, crew chan error, step func(string)) error {
	for _, i := range st.isles {
		step("waiting for " + i.Name)
		c := newClient(i.Addr)
		defer c.close()
		if err := c.waitReady(ctx, crew); err != nil {
			return err
		}
	}
	return nil
}

func plural(islands int) string {
	if islands == 1 {
		return "an island"
	}
	return fmt.Sprintf("%d islands", islands)
}

// early explains an island that ended before it was asked to.
func early(err error) error {
	if err == nil {
		return errors.New("an island ended by itself")
	}
	return fmt.Errorf("an island ended: %w", err)
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

const logFile = "demo.log"

// serve starts an HTTP server on a free loopback port.
func serve(h http.Handler, logger *slog.Logger) (*server, error) {
	l, err := net.Listen("tcp", anyPort)
	if err != nil {
		return nil, fmt.Errorf("listen on loopback: %w", err)
	}
	return serveOn(l, h, logger), nil
}

func serveOn(l net.Listener, h http.Handler, logger *slog.Logger) *server {
	s := &server{addr: l.Addr().String(), done: make(chan struct{})}
	s.http = &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelWarn)}
	go func() {
		defer close(s.done)
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			logger.Error("demo server ended", "address", s.addr, "err", err)
		}
	}()
	return s
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

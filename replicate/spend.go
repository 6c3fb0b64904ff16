package replicate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/atoll-mesh/atoll/flow/durable"
)

// purse is what a stream may spend: bytes a second and a day (UTC).
type purse struct {
	perDay int64
	rate   *rate.Limiter // nil for no bound

	mu    sync.Mutex
	day   string
	spent int64
}

func newPurse(b Budget, was spending) *purse {
	p := &purse{perDay: int64(b.PerDay), day: was.Day, spent: was.Bytes}
	if n := int(b.PerSecond); n > 0 {
		p.rate = rate.NewLimiter(rate.Limit(n), max(n, 64<<10))
	}
	return p
}

// spending is the bytes of a day.
type spending struct {
	Day   string `json:"day"`
	Bytes int64  `json:"bytes"`
}

func dayOf(t time.Time) string { return t.UTC().Format(time.DateOnly) }

// over is when the budget of the day will be open again; zero while it is open.
func (p *purse) over(now time.Time) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.perDay == 0 || p.day != dayOf(now) || p.spent < p.perDay {
		return time.Time{}
	}
	return now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour)
}

func (p *purse) state(now time.Time) spending {
	p.mu.Lock()
	defer p.mu.Unlock()
	if today := dayOf(now); p.day != today {
		return spending{Day: today}
	}
	return spending{p.day, p.spent}
}

// spend waits until n bytes may travel.
func (p *purse) spend(ctx context.Context, n int) error {
	for {
		until := p.over(time.Now())
		if until.IsZero() {
			break
		}
		if err := sleep(ctx, time.Until(until)); err != nil {
			return err
		}
	}
	for left := n; p.rate != nil && left > 0; {
		part := min(left, p.rate.Burst())
		if err := p.rate.WaitN(ctx, part); err != nil {
			return err
		}
		left -= part
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if today := dayOf(time.Now()); p.day != today {
		p.day, p.spent = today, 0
	}
	p.spent += int64(n)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ledgerFile keeps what was spent today over a restart.
const ledgerFile = "spent.json"

func readLedger(dir string) (map[string]spending, error) {
	ledger := map[string]spending{}
	text, err := os.ReadFile(filepath.Join(dir, ledgerFile))
	if errors.Is(err, fs.ErrNotExist) {
		return ledger, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &ledger)
	}
	if err != nil {
		return map[string]spending{}, fmt.Errorf("read what streams spent today: %w", err)
	}
	return ledger, nil
}

func writeLedger(dir string, ledger map[string]spending) error {
	text, err := json.Marshal(ledger)
	if err != nil {
		return err
	}
	return durable.Write(filepath.Join(dir, ledgerFile), 0o600, text)
}

package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

const (
	// stopWithin is how long an island that was asked to stop may take.
	stopWithin = 30 * time.Second
	islandLog  = "atoll.log"
	// thrifty has islands collect garbage sooner than an island that has its machine for
	// itself.
	thrifty = "GOGC=50"
)

// runProcess runs an island as a process of this program until ctx ends. Its standard
// input is a pipe on which nothing comes: the island stops when it ends, and it ends
// with this process, however that goes.
func runProcess(ctx context.Context, dir, configPath string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program, to start islands with: %w", err)
	}
	path := filepath.Join(dir, islandLog)
	log, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("make an island's log: %w", err)
	}
	defer log.Close()
	cmd := exec.Command(self, "demo", "--island", configPath)
	cmd.Stdout, cmd.Stderr = log, log
	if os.Getenv("GOGC") == "" {
		cmd.Env = append(os.Environ(), thrifty)
	}
	separate(cmd)
	leash, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("make an island's leash: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start an island: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		_ = leash.Close()
		select {
		case err = <-ended:
		case <-time.After(stopWithin):
			_ = cmd.Process.Kill()
			err = fmt.Errorf("it did not stop within %s and was killed: %w", stopWithin, <-ended)
		}
	}
	if err != nil {
		return fmt.Errorf("%w; its last words: %s", err, lastWords(path))
	}
	return nil
}

// lastWords is the end of a log, for an error message.
func lastWords(path string) string {
	const most = 1000
	text, err := os.ReadFile(path)
	if err != nil {
		return "not to be read: " + err.Error()
	}
	text = text[max(0, len(text)-most):]
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], " | ")
}

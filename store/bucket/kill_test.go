package bucket

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/minio/minio-go/v7"
)

var noOptions = minio.PutObjectOptions{}

// childVar makes the test's own binary a process that uploads and can be killed.
const childVar = "ATOLL_BUCKET_TEST_CHILD"

type childTask struct {
	Config     Config
	Store, Dir string
}

func child() {
	var task childTask
	if err := json.Unmarshal([]byte(os.Getenv(childVar)), &task); err != nil {
		panic(err)
	}
	b, err := New(Options{Config: task.Config, Labels: ownLabels, Dir: task.Dir, StoreDir: task.Store, Blocks: (&site{store: task.Store}).blocks})
	if err == nil {
		err = b.round(context.Background(), b.cur.Load())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A process is killed by SIGKILL before and after each request it makes, and the
// next one ends the work.
func TestKillBetweenRequests(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, after := range []bool{false, true} {
		for n := 0; ; n++ {
			server, s := newServer(t), newSite(t)
			m := s.cut(0)
			task, err := json.Marshal(childTask{server.config(t), s.store, s.dir})
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), childVar+"="+string(task))
			var (
				killed  atomic.Bool
				started sync.Mutex
			)
			die := func() {
				killed.Store(true)
				started.Lock()
				_ = cmd.Process.Kill() // it may have ended
				started.Unlock()
			}
			server.mu.Lock()
			server.before = func(i int, r *http.Request) {
				if i == n && !after {
					die()
					panic(http.ErrAbortHandler)
				}
			}
			server.after = func(i int) {
				if i == n && after {
					die()
				}
			}
			server.mu.Unlock()
			var said bytes.Buffer
			cmd.Stdout, cmd.Stderr = &said, &said
			started.Lock()
			err = cmd.Start()
			started.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait() // how it ended is seen by what it left
			server.mu.Lock()
			server.before, server.after = nil, nil
			server.mu.Unlock()
			if !killed.Load() {
				if n < 8 {
					t.Fatalf("only %d requests were made: %s", n, strings.TrimSpace(said.String()))
				}
				t.Logf("%d requests, killed after: %v", n, after)
				break
			}
			b := s.open(server.config(t))
			if err := b.once(); err != nil {
				t.Fatalf("killed at request %d: %v", n, err)
			}
			exactly(t, b.cur.Load(), m.ULID)
			if !b.Uploaded(m) {
				t.Fatalf("killed at request %d: the block does not count as uploaded", n)
			}
		}
	}
}

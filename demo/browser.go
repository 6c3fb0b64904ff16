package demo

import (
	"errors"
	"fmt"
	"os/exec"
)

// open shows a page in a browser if that was asked for.
func (o Options) open(url string) error {
	if !o.Open {
		return nil
	}
	for _, command := range [][]string{{"xdg-open"}, {"open"}, {"rundll32", "url.dll,FileProtocolHandler"}} {
		path, err := exec.LookPath(command[0])
		if err != nil {
			continue
		}
		cmd := exec.Command(path, append(command[1:], url)...)
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start %s: %w", path, err)
		}
		go func() { _ = cmd.Wait() }() // a browser may live on; what it says is its own affair
		return nil
	}
	return errors.New("neither xdg-open nor open is there; go to " + url)
}

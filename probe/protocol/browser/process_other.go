//go:build !linux

package browser

import (
	"context"
	"errors"
	"os"
)

var errNoLinux = errors.New("load a page: only on Linux")

type process struct {
	in, out *os.File
}

func find(string) (string, error) { return "", errNoLinux }

func launch(string, string, int, int, int64) (*process, error) { return nil, errNoLinux }

func (p *process) stop() error { return errNoLinux }

func (p *process) whyNot(context.Context) string { return "" }

func (p *process) fatEnd() bool { return false }

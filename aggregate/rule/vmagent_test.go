package rule

import (
	"errors"
	"os"
	"strings"
	"testing"
)

// pointlessOptions are read, and warned of where they are set.
var pointlessOptions = []string{
	"enable_windows: true", "no_align_flush_to_interval: true", "flush_on_shutdown: true",
	"ignore_first_intervals:", "ignore_first_sample_interval:", "ignore_old_samples: true", "dedup_interval:", "keep_metric_names: true",
}

// TestVmagentFiles reads what vmagent reads, saying what has no effect here, and
// refuses what it refuses, saying where.
func TestVmagentFiles(t *testing.T) {
	for _, text := range documents(t, "testdata/vmagent/accepted.txt", 60) {
		set, err := LoadEnv("f", []byte(text), environment)
		if err != nil {
			t.Errorf("%v in\n%s", err, text)
			continue
		}
		for _, option := range pointlessOptions {
			name, _, _ := strings.Cut(option, ":")
			if strings.Contains(text, "\n  "+option) && !strings.Contains(set.String(), "]."+name+": ") {
				t.Errorf("no warning of %s in\n%s", name, text)
			}
		}
	}
	for _, text := range documents(t, "testdata/vmagent/refused.txt", 25) {
		_, err := LoadEnv("f", []byte(text), environment)
		var list Errors
		if !errors.As(err, &list) || len(list) == 0 {
			t.Errorf("error %v for\n%s", err, text)
			continue
		}
		for _, p := range list {
			if p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Errorf("%v has no place, in\n%s", p, text)
			}
		}
	}
}

// documents are the parts of a file behind the lines of percent signs.
func documents(t *testing.T, file string, least int) []string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Split(string(text), "\n%%%%\n")[1:]
	if len(all) < least {
		t.Fatalf("%s has %d documents, want %d", file, len(all), least)
	}
	return all
}

package cgroup

import (
	"maps"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseUint(t *testing.T) {
	for in, want := range map[string]uint64{"0\n": 0, "42": 42, "max\n": unlimited, "-1\n": unlimited, "18446744073709551615": math.MaxUint64} {
		if got, ok := parseUint([]byte(in)); !ok || got != want {
			t.Errorf("parseUint(%q) = %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "x", "1 2", "18446744073709551616", "-", "-x", "1.5"} {
		if got, ok := parseUint([]byte(in)); ok {
			t.Errorf("parseUint(%q) = %d, want it refused", in, got)
		}
	}
}

func TestParseCPUMax(t *testing.T) {
	for in, want := range map[string][2]uint64{"max 100000\n": {unlimited, 100000}, "50000 100000\n": {50000, 100000}} {
		q, p, ok := parseCPUMax([]byte(in))
		if !ok || q != want[0] || p != want[1] {
			t.Errorf("parseCPUMax(%q) = %d %d %v", in, q, p, ok)
		}
	}
	for _, in := range []string{"", "max", "a b", "1 max", "1 2 3"} {
		if _, _, ok := parseCPUMax([]byte(in)); ok {
			t.Errorf("parseCPUMax(%q) was accepted", in)
		}
	}
}

func TestParseIOStat(t *testing.T) {
	got := map[string]traffic{}
	parseIOStat([]byte("8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9 dios=9\n8:16 rbytes=x wbytes=5\nnonsense\n253:0\n"), got)
	want := map[string]traffic{"8:0": {1, 2, 3, 4}, "8:16": {writtenBytes: 5}}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(traffic{})); d != "" {
		t.Error(d)
	}
}

func TestParsePressure(t *testing.T) {
	some, full, ok := parsePressure([]byte("some avg10=0.00 avg60=1.00 avg300=0.10 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=45\n"))
	if !ok || some != 123 || full != 45 {
		t.Errorf("got %d %d %v", some, full, ok)
	}
	if _, _, ok := parsePressure([]byte("some total=\nother total=1\n")); ok {
		t.Error("nonsense was accepted")
	}
}

func TestSharesOfWeight(t *testing.T) {
	for weight, want := range map[uint64]uint64{0: 2, 1: 2, 39: 998, 100: 2597, 10000: 262144, 99999: 262144} {
		if got := sharesOfWeight(weight); got != want {
			t.Errorf("sharesOfWeight(%d) = %d, want %d", weight, got, want)
		}
	}
}

// FuzzParse feeds every parser of kernel files; none may panic or hold more
// than its bound.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"max\n", "-1\n", "50000 100000\n", "usage_usec 1\nuser_usec 2\n",
		"8:0 rbytes=1 wbytes=2 rios=3 wios=4\n", "8:0 Read 1\n8:0 Write 2\nTotal 3\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		parseUint(b)
		parseCPUMax(b)
		parseFlat(b, func(string, uint64) {})
		devices := map[string]traffic{}
		parseIOStat(b, devices)
		parseBlkio(b, devices, func(d *traffic, _ string, v uint64) { d.reads = v })
		if len(devices) > maxDevices {
			t.Errorf("%d devices, at most %d are allowed", len(devices), maxDevices)
		}
		for d := range maps.Keys(devices) {
			if !isDevice(d) {
				t.Errorf("%q was taken for a device", d)
			}
		}
		parsePressure(b)
	})
}

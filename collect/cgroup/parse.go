package cgroup

import (
	"bytes"
	"math"
	"strconv"
	"strings"
)

// unlimited is how the parsers write "max", -1 and v1's rounded 2^63.
const unlimited = math.MaxUint64

// v1 writes "no limit" as 2^63 rounded down to a page; pages are at most 64 KiB.
const v1Unlimited = math.MaxInt64 &^ 0xffff

// parseUint reads a file of one number, or "max" or a negative number for
// unlimited.
func parseUint(b []byte) (uint64, bool) {
	s := string(bytes.TrimSpace(b))
	if s == "max" {
		return unlimited, true
	}
	if strings.HasPrefix(s, "-") {
		_, err := strconv.ParseInt(s, 10, 64)
		return unlimited, err == nil
	}
	v, err := strconv.ParseUint(s, 10, 64)
	return v, err == nil
}

// parseFlat calls f for each "key value" line, the form of cpu.stat,
// memory.stat, memory.events and memory.oom_control. Other lines are skipped.
func parseFlat(b []byte, f func(key string, value uint64)) {
	for line := range bytes.Lines(b) {
		key, value, ok := bytes.Cut(bytes.TrimSpace(line), []byte(" "))
		if !ok {
			continue
		}
		if v, err := strconv.ParseUint(string(value), 10, 64); err == nil {
			f(string(key), v)
		}
	}
}

// parseCPUMax reads v2's cpu.max: "$QUOTA $PERIOD" in microseconds.
func parseCPUMax(b []byte) (quota, period uint64, ok bool) {
	q, p, found := bytes.Cut(bytes.TrimSpace(b), []byte(" "))
	if !found {
		return 0, 0, false
	}
	quota, ok = parseUint(q)
	if !ok {
		return 0, 0, false
	}
	period, err := strconv.ParseUint(string(p), 10, 64)
	return quota, period, err == nil
}

// traffic counts what passed between a group and one device, in bytes and requests.
type traffic struct {
	readBytes, writtenBytes, reads, writes uint64
}

// maxDevices bounds how many devices one group reports.
const maxDevices = 256

// parseIOStat reads v2's io.stat: "8:0 rbytes=1 wbytes=2 rios=3 wios=4 ...".
func parseIOStat(b []byte, into map[string]traffic) {
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || !isDevice(fields[0]) {
			continue
		}
		d, known := into[fields[0]]
		if !known && len(into) >= maxDevices {
			return
		}
		for _, f := range fields[1:] {
			key, value, _ := strings.Cut(f, "=")
			v, err := strconv.ParseUint(value, 10, 64)
			if err != nil {
				continue
			}
			switch key {
			case "rbytes":
				d.readBytes = v
			case "wbytes":
				d.writtenBytes = v
			case "rios":
				d.reads = v
			case "wios":
				d.writes = v
			}
		}
		into[fields[0]] = d
	}
}

// parseBlkio reads v1's blkio.throttle.io_*: "8:0 Read 4096"; the total at the
// end has no device. set says which field the operation's value belongs to.
func parseBlkio(b []byte, into map[string]traffic, set func(d *traffic, op string, v uint64)) {
	for line := range bytes.Lines(b) {
		fields := strings.Fields(string(line))
		if len(fields) != 3 || !isDevice(fields[0]) {
			continue
		}
		v, err := strconv.ParseUint(fields[2], 10, 64)
		if err != nil {
			continue
		}
		d, known := into[fields[0]]
		if !known && len(into) >= maxDevices {
			return
		}
		set(&d, fields[1], v)
		into[fields[0]] = d
	}
}

// isDevice accepts "major:minor".
func isDevice(s string) bool {
	major, minor, ok := strings.Cut(s, ":")
	if !ok {
		return false
	}
	_, err1 := strconv.ParseUint(major, 10, 32)
	_, err2 := strconv.ParseUint(minor, 10, 32)
	return err1 == nil && err2 == nil
}

// parsePressure reads a PSI file and returns the total stalls in microseconds:
// some is when at least one task waited, full when all did.
func parsePressure(b []byte) (some, full uint64, ok bool) {
	for line := range bytes.Lines(b) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
		i := strings.LastIndex(rest, "total=")
		if i < 0 {
			continue
		}
		v, err := strconv.ParseUint(rest[i+len("total="):], 10, 64)
		if err != nil {
			continue
		}
		switch kind {
		case "some":
			some, ok = v, true
		case "full":
			full, ok = v, true
		}
	}
	return some, full, ok
}

// sharesOfWeight turns v2's cpu.weight (1 to 10000) back into v1's cpu.shares
// (2 to 262144), by the formula the container runtimes use the other way.
func sharesOfWeight(weight uint64) uint64 {
	if weight < 1 {
		return 2
	}
	weight = min(weight, 10000)
	return 2 + (weight-1)*262142/9999
}

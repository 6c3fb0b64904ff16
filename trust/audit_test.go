package trust

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func (w *world) openAudit(path, key string) (*Audit, error) {
	return OpenAudit(path, w.network, func() PrivateKey { return testKey(key) })
}

// auditLog writes a log of n entries, the key replaced in the middle, and returns its path.
func (w *world) auditLog(n int) string {
	w.tb.Helper()
	path := filepath.Join(w.tb.TempDir(), "audit.jsonl")
	key := testKey("anegada")
	a := must[*Audit](w.tb)(OpenAudit(path, w.network, func() PrivateKey { return key }))
	defer a.Close()
	for i := range n {
		if i == n/2 {
			w.appendTo(a, AuditEntry{TimeMs: epoch.UnixMilli() + int64(i), Actor: "anegada", Action: AuditNewKey, Subject: pub("anegada2").String()})
			key = testKey("anegada2")
			continue
		}
		w.appendTo(a, AuditEntry{TimeMs: epoch.UnixMilli() + int64(i), Actor: "anegada", Action: "member.admit", Subject: fmt.Sprint("island", i), Detail: "<by> \u2028 \"invite\""})
	}
	return path
}

func (w *world) appendTo(a *Audit, e AuditEntry) AuditEntry {
	w.tb.Helper()
	return must[AuditEntry](w.tb)(a.Append(e))
}

func readFile(t testing.TB, path string) []byte {
	t.Helper()
	return must[[]byte](t)(os.ReadFile(path))
}

func TestAuditVerifies(t *testing.T) {
	w := newWorld(t)
	path := w.auditLog(9)
	for name, network := range map[string]*NetworkID{"known network": &w.network, "unknown network": nil} {
		got, err := VerifyAudit(bytes.NewReader(readFile(t, path)), network)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if got.Entries != 9 || got.Network != w.network || !slices.Equal(got.Keys, []Key{pub("anegada"), pub("anegada2")}) || got.FromMs != epoch.UnixMilli() || got.ToMs != epoch.UnixMilli()+8 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	other := NetworkOf(pub("s1"))
	_, err := VerifyAudit(bytes.NewReader(readFile(t, path)), &other)
	wantError(t, err, nil, "line 1: begins the log of network")
	if _, err := VerifyAuditFile(path, &w.network); err != nil {
		t.Error(err)
	}
	if got, err := VerifyAudit(strings.NewReader(""), &w.network); err != nil || got.Entries != 0 {
		t.Errorf("an empty log: %+v, %v", got, err)
	}
}

func TestAuditTampering(t *testing.T) {
	w := newWorld(t)
	path := w.auditLog(9)
	text := readFile(t, path)
	lines := bytes.SplitAfter(text, []byte("\n"))[:9]
	edit := func(n int, from, to string) []byte {
		out := slices.Clone(lines)
		out[n-1] = bytes.Replace(out[n-1], []byte(from), []byte(to), 1)
		if bytes.Equal(out[n-1], lines[n-1]) {
			t.Fatalf("line %d has no %q", n, from)
		}
		return bytes.Join(out, nil)
	}
	rearrange := func(order ...int) []byte {
		var out []byte
		for _, n := range order {
			out = append(out, lines[n-1]...)
		}
		return out
	}
	// forge makes line n anew under another key, and all that follow.
	forge := func(n int, key string) []byte {
		chain := newAuditChain(&w.network)
		out := rearrange()
		for i, line := range lines {
			e := must[AuditEntry](t)(parseAuditLine(bytes.TrimSpace(line)))
			if i+1 >= n {
				e.Detail, e.Prev = "forged", chain.last
				e.seal(w.network, testKey(key))
			}
			chain.take(&e)
			out = append(out, must[[]byte](t)(e.line())...)
		}
		return out
	}
	for _, tc := range []struct {
		name string
		log  []byte
		want string
	}{
		{"subject edited", edit(3, "island2", "island9"), "line 3: was changed"},
		{"time edited", edit(3, fmt.Sprint(epoch.UnixMilli()+2), fmt.Sprint(epoch.UnixMilli()+3)), "line 3: was changed"},
		{"key edited", edit(3, pub("anegada").String(), pub("anegada2").String()), "line 3: was changed"},
		{"signature edited", edit(3, `"signature":"`, `"signature":"AAAA`), "line 3: is no entry"},
		{"space added", edit(3, `"seq":3`, `"seq": 3`), "line 3: was changed"},
		{"field repeated", edit(3, `"seq":3`, `"seq":4,"seq":3`), "line 3: was changed"},
		{"field added", edit(3, `"seq":3`, `"seq":3,"x":1`), "line 3: is no entry"},
		{"field's case changed", edit(3, `"seq"`, `"Seq"`), "line 3: was changed"},
		{"text after an entry", edit(3, "}\n", "}{}\n"), "line 3: was changed"},
		{"first taken out", rearrange(2, 3, 4, 5, 6, 7, 8, 9), "line 1: is entry 2"},
		{"one taken out", rearrange(1, 2, 4, 5, 6, 7, 8, 9), "line 3: is entry 4"},
		{"two exchanged", rearrange(1, 3, 2, 4, 5, 6, 7, 8, 9), "line 2: is entry 3"},
		{"one doubled", rearrange(1, 2, 2, 3, 4, 5, 6, 7, 8, 9), "line 3: is entry 2"},
		{"new key's naming taken out", rearrange(1, 2, 3, 4, 6, 7, 8, 9), "line 5: is entry 6"},
		{"key lines exchanged", rearrange(1, 2, 3, 4, 6, 5, 7, 8, 9), "line 5: is entry 6"},
		{"cut in a line", text[:len(text)-1], "line 9: is cut short"},
		{"forged by a stranger from the middle", forge(3, "stranger"), "line 3: is signed by"},
		{"forged by a stranger after the new key", forge(7, "stranger"), "line 7: is signed by"},
		{"gone on by the old key", forge(7, "anegada"), "line 7: is signed by"},
		{"forged by the next key too early", forge(3, "anegada2"), "line 3: is signed by"},
		{"empty line", append([]byte("\n"), text...), "line 1: is no entry"},
		{"endless line", bytes.Repeat([]byte("x"), maxAuditLine+1), "line 1: is longer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := VerifyAudit(bytes.NewReader(tc.log), &w.network)
			wantError(t, err, nil, tc.want)
		})
	}
	// A whole log by another key is in itself sound: its first key gives it away.
	got, err := VerifyAudit(bytes.NewReader(forge(1, "stranger")), &w.network)
	if err != nil || !slices.Equal(got.Keys, []Key{pub("stranger")}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestAuditCutAtItsEnd takes away whole lines, which the chain alone cannot show.
func TestAuditCutAtItsEnd(t *testing.T) {
	w := newWorld(t)
	for keep := range 9 {
		path := w.auditLog(9)
		lines := bytes.SplitAfter(readFile(t, path), []byte("\n"))
		if err := os.WriteFile(path, bytes.Join(lines[:keep], nil), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := VerifyAuditFile(path, &w.network)
		wantError(t, err, nil, fmt.Sprintf("line %d: the log ends, but it went on to entry 9", keep+1))
		_, err = w.openAudit(path, "anegada2")
		wantError(t, err, nil, "its end was cut off")
	}
	path := w.auditLog(9)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err := w.openAudit(path, "anegada2")
	wantError(t, err, nil, "its end was cut off")
	path = w.auditLog(9)
	if err := os.Remove(path + headSuffix); err != nil {
		t.Fatal(err)
	}
	_, err = w.openAudit(path, "anegada2")
	wantError(t, err, nil, "head beside it is missing")
}

// TestAuditGoesOnAfterACrash tears the last line, and leaves the head one behind.
func TestAuditGoesOnAfterACrash(t *testing.T) {
	w := newWorld(t)
	path := w.auditLog(5)
	before, head := readFile(t, path), readFile(t, path+headSuffix)
	a := must[*Audit](t)(w.openAudit(path, "anegada2"))
	w.appendTo(a, AuditEntry{Action: "x"})
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	after := readFile(t, path)
	for n := len(before); n <= len(after); n += 1 + (len(after)-n)/8 {
		if err := errors.Join(os.WriteFile(path, after[:n], 0o600), os.WriteFile(path+headSuffix, head, 0o600)); err != nil {
			t.Fatal(err)
		}
		a, err := w.openAudit(path, "anegada2")
		if err != nil {
			t.Fatalf("with %d bytes of the last line: %v", n-len(before), err)
		}
		w.appendTo(a, AuditEntry{Action: "y"})
		want := uint64(6)
		if n == len(after) {
			want = 7
		}
		if got, err := VerifyAuditFile(path, &w.network); err != nil || got.Entries != want {
			t.Fatalf("with %d bytes of the last line: %d entries, %v", n-len(before), got.Entries, err)
		}
		a.Close()
	}
}

func TestAuditOpenRefusesWhatWasTamperedWith(t *testing.T) {
	w := newWorld(t)
	path := w.auditLog(5)
	text := readFile(t, path)
	if err := os.WriteFile(path, bytes.Replace(text, []byte("island1"), []byte("island7"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := w.openAudit(path, "anegada2")
	wantError(t, err, nil, "line 2: was changed")
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), 3*maxAuditLine), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = w.openAudit(path, "anegada2")
	wantError(t, err, nil, "no audit log")
}

func TestAuditKeyReplacedWhileOpen(t *testing.T) {
	w := newWorld(t)
	path := filepath.Join(t.TempDir(), "audit")
	key := testKey("anegada")
	a := must[*Audit](t)(OpenAudit(path, w.network, func() PrivateKey { return key }))
	defer a.Close()
	w.appendTo(a, AuditEntry{Action: "one"})
	key = testKey("anegada2")
	if e := w.appendTo(a, AuditEntry{Action: "two"}); e.Seq != 3 || e.Key != pub("anegada2") {
		t.Errorf("%+v: the old key did not name the new one before", e)
	}
	if got, err := VerifyAuditFile(path, nil); err != nil || got.Entries != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	key = PrivateKey{}
	_, err := a.Append(AuditEntry{Action: "three"})
	wantError(t, err, nil, "no key")
}

// TestAuditOfAFormerLife has the island back in its network under a new key that nobody named.
func TestAuditOfAFormerLife(t *testing.T) {
	w := newWorld(t)
	for n := 0; n < 20; n++ {
		path := w.auditLog(3)
		var steps []string
		a := &Audit{path: path, network: w.network, key: func() PrivateKey { return testKey("anegada3") }, disk: killAt(n, &steps)}
		err := a.open()
		finished := err == nil
		if a.file != nil {
			a.Close()
		}
		a, err = w.openAudit(path, "anegada3")
		if err != nil {
			t.Fatalf("killed after %v: %v", steps[:min(n, len(steps))], err)
		}
		if e := w.appendTo(a, AuditEntry{Action: "again"}); e.Seq != 1 {
			t.Errorf("the new log begins with entry %d", e.Seq)
		}
		a.Close()
		aside := must[[]string](t)(filepath.Glob(path + ".until-3-????????"))
		if len(aside) != 1 {
			t.Fatalf("put aside: %v", aside)
		}
		for _, p := range []string{path, aside[0]} {
			if _, err := VerifyAuditFile(p, &w.network); err != nil {
				t.Errorf("killed after %v: %v", steps[:min(n, len(steps))], err)
			}
		}
		if finished {
			return
		}
	}
	t.Error("never finished")
}

// TestAuditOfAnotherNetwork has the island in a network after the one it left.
func TestAuditOfAnotherNetwork(t *testing.T) {
	w := newWorld(t)
	next := NetworkOf(pub("root2"))
	open := func(path string) (*Audit, error) {
		return OpenAudit(path, next, func() PrivateKey { return testKey("anegada2") })
	}
	path := w.auditLog(3)
	a := must[*Audit](t)(open(path))
	if e := w.appendTo(a, AuditEntry{Action: "join"}); e.Seq != 1 {
		t.Errorf("the new log begins with entry %d", e.Seq)
	}
	a.Close()
	aside := must[[]string](t)(filepath.Glob(path + ".until-3-????????"))
	if len(aside) != 1 {
		t.Fatalf("put aside: %v", aside)
	}
	for p, network := range map[string]NetworkID{path: next, aside[0]: w.network} {
		if _, err := VerifyAuditFile(p, &network); err != nil {
			t.Error(err)
		}
	}
	// What was tampered with is not put aside as if it were whole.
	path = w.auditLog(5)
	if err := os.WriteFile(path, bytes.Replace(readFile(t, path), []byte("island1"), []byte("island7"), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := open(path)
	wantError(t, err, nil, "was changed")
}

func TestAuditEntries(t *testing.T) {
	w := newWorld(t)
	path := w.auditLog(9)
	a := must[*Audit](t)(w.openAudit(path, "anegada2"))
	defer a.Close()
	got := must[[]AuditEntry](t)(a.Entries(6))
	if len(got) != 3 || got[0].Seq != 7 || got[2].Subject != "island8" || got[2].Detail != "<by> \u2028 \"invite\"" {
		t.Errorf("entries after 6: %+v", got)
	}
	if head := a.Head(); head.Seq != 9 || head.Hash != got[2].Hash {
		t.Errorf("head %+v", head)
	}
	_, err := a.Append(AuditEntry{Detail: strings.Repeat("d", maxAuditText+1)})
	wantError(t, err, nil, "per field")
	_, err = a.Append(AuditEntry{Detail: strings.Repeat("\x01", maxAuditText), Actor: strings.Repeat("\x01", maxAuditText)})
	wantError(t, err, nil, "entry of")
	if e := w.appendTo(a, AuditEntry{Detail: "bad \xff text"}); e.Seq != 10 {
		t.Errorf("entry %d after refused ones", e.Seq)
	}
	if _, err := VerifyAuditFile(path, nil); err != nil {
		t.Error(err)
	}
	a.Close()
	_, err = a.Append(AuditEntry{})
	wantError(t, err, os.ErrClosed, "append")
}

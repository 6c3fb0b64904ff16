package talk

import (
	"testing"
)

func FuzzNTP(f *testing.F) {
	good := make([]byte, ntpSize)
	good[0], good[1] = 4<<3|4, 2
	f.Add(good, uint64(0))
	f.Add(good[:20], uint64(0))
	f.Fuzz(func(t *testing.T, b []byte, nonce uint64) {
		a, err := parseNTP(b, nonce)
		if err == nil && (a.leap > 3 || a.stratum > 255 || len(a.kissOfDeathCode) > 4) {
			t.Errorf("%x gives %+v", b, a)
		}
	})
}

func FuzzRESP(f *testing.F) {
	for _, s := range []string{"+PONG", "-ERR x", ":1", "$5", "$-1", "$99999999999999999999", "*3", "", "$"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if _, size, err := parseRESP(line); err == nil && (size < -1 || size > maxBulk) {
			t.Errorf("%q gives %d bytes", line, size)
		}
	})
}

func FuzzMySQL(f *testing.F) {
	f.Add([]byte("\x0a8.0.1\x00\x01\x00\x00\x0012345678\x00\xff\xff\x21\x02\x00\xff\xff\x15\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00caching_sha2_password\x00"))
	f.Add([]byte("\xff\x10\x04#08004Too many"))
	f.Add([]byte{10})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseMySQL(b)
		if err == nil && len(h.nonce) > len(b) {
			t.Errorf("%x gives %+v", b, h)
		}
		mysqlError(b)
		mysqlProof(h.plugin, "secret", h.nonce)
	})
}

func FuzzPostgres(f *testing.F) {
	f.Add([]byte("SFATAL\x00C28P01\x00Mpassword authentication failed\x00\x00"))
	f.Add([]byte("C"))
	f.Add([]byte("\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		state, words := postgresError(b)
		if len(state)+len(words) > len(b) {
			t.Errorf("%q gives %q, %q", b, state, words)
		}
		pair(b)
	})
}

func FuzzSCRAM(f *testing.F) {
	f.Add("r=abc,s=QSXCR+Q6sek8bf92,i=4096")
	f.Add("r=,s=,i=0")
	f.Add("r=x,s=eA==,i=9999999999")
	f.Fuzz(func(t *testing.T, challenge string) {
		if _, salt, n, err := parseSCRAM(challenge); err == nil && (n < 1 || n > maxIterations || len(salt) == 0) {
			t.Errorf("%q gives %d iterations and a salt of %d bytes", challenge, n, len(salt))
		}
	})
}

func FuzzSMTP(f *testing.F) {
	for _, s := range []string{"220 a", "250-a", "250", "25", "2500", "-1- x", "250\tx"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		if code, _, _, ok := smtpLine(line); ok && (code < 0 || code > 999) {
			t.Errorf("%q gives %d", line, code)
		}
	})
}

// TestSCRAM is the example of RFC 7677.
func TestSCRAM(t *testing.T) {
	s := &scram{password: "pencil", nonce: "rOprNGfwEbeRWgbNEkqO", bare: "n=user,r=rOprNGfwEbeRWgbNEkqO"}
	got, err := s.final("r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
	if err != nil {
		t.Fatal(err)
	}
	if want := "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; got != want {
		t.Errorf("the proof is %s, want %s", got, want)
	}
	if err := s.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="); err != nil || !s.proved {
		t.Errorf("the server's proof: %v", err)
	}
	if err := s.verify("v=AAAA"); err == nil {
		t.Error("a server that does not know the password is believed")
	}
}

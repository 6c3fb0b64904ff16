package bucket

import (
	"strings"
	"testing"
)

func TestConfig(t *testing.T) {
	s3 := func(c *Config) { c.Type, c.Endpoint, c.Bucket = S3, "s3.example.com", "b" }
	for want, change := range map[string]func(*Config){
		"":                        func(*Config) {},
		" ":                       s3,
		"bucket.type: \"gcs\"":    func(c *Config) { c.Type = "gcs" },
		"bucket.directory":        func(c *Config) { c.Type = Filesystem },
		"bucket.endpoint: \"\"":   func(c *Config) { s3(c); c.Endpoint = "" },
		"bucket.endpoint: \"htt":  func(c *Config) { s3(c); c.Endpoint = "https://s3.example.com" },
		"bucket.bucket":           func(c *Config) { s3(c); c.Bucket = "" },
		"bucket.access_key":       func(c *Config) { s3(c); c.AccessKey = "key" },
		"bucket.tls.cert_file":    func(c *Config) { s3(c); c.TLS.KeyFile = "key" },
		"bucket.prefix: \"../x\"": func(c *Config) { s3(c); c.Prefix = "../x" },
		"bucket.prefix: \"x/\"":   func(c *Config) { s3(c); c.Prefix = "x/" },
		"bucket.timeout":          func(c *Config) { c.Timeout = 0 },
		"bucket.interval":         func(c *Config) { c.Interval = -1 },
		"bucket.upload_rate":      func(c *Config) { c.UploadRate = -1 },
		"bucket.cache":            func(c *Config) { c.Cache = 1 },
		"bucket.also_read[1]":     func(c *Config) { c.AlsoRead = []map[string]string{{"a": "b"}, {}} },
	} {
		c := Default()
		change(&c)
		err := c.Validate()
		switch want = strings.TrimSpace(want); {
		case want == "" && err != nil:
			t.Error(err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%v, want one that says %q", err, want)
		}
	}
}

// A new target has none of the blocks; one that cannot be reached by its secret is
// refused, and the old one stays in force.
func TestReload(t *testing.T) {
	s := newSite(t)
	m := s.cut(0)
	first := directoryConfig(t)
	b := s.open(first)
	b.settle(t)
	bad := newServer(t).config(t)
	bad.SecretKeyFile += ".missing"
	if _, _, err := b.Prepare(bad, ownLabels); err == nil || !strings.Contains(err.Error(), "bucket.secret_key_file") {
		t.Errorf("without a secret: %v", err)
	}
	if _, _, err := b.Prepare(first, nil); err == nil || !strings.Contains(err.Error(), "external label") {
		t.Errorf("without labels: %v", err)
	}
	if !b.Uploaded(m) {
		t.Error("a refused configuration changed something")
	}
	again := first
	again.UploadRate = 1 << 30
	commit, _, err := b.Prepare(again, ownLabels)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if b.stale(b.cur.Load()) {
		t.Error("the same place with another limit is looked at from nothing")
	}
	commit, _, err = b.Prepare(newServer(t).config(t), ownLabels)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if b.Uploaded(m) {
		t.Error("before it was sent, a block counts as uploaded to the new target")
	}
	b.settle(t)
	exactly(t, b.cur.Load(), m.ULID)
	commit, _, err = b.Prepare(Default(), nil)
	if err != nil {
		t.Fatal(err)
	}
	commit()
	if !b.Uploaded(m) || !b.Deletable(m) {
		t.Error("without a bucket blocks wait for one")
	}
}

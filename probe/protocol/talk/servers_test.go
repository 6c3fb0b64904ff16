package talk

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/atoll-mesh/atoll/probe/definition"
	"github.com/atoll-mesh/atoll/probe/protocol"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// as makes a command run as another user, whose the directory becomes.
func as(t *testing.T, name, dir string, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		return cmd
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Skipf("the server runs as %s: %v", name, err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	if err := filepath.Walk(dir, func(path string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	}); err != nil {
		t.Fatal(err)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	cmd.Dir = dir
	return cmd
}

func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, out)
	}
}

// copyKey gives a server its own copy of the key, which others may not read.
func (p pki) copyKey(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(p.key)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "key.pem")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// awaitUp probes until a server that listens has also started.
func awaitUp(t *testing.T, f protocol.Func, target string, m *definition.Module) *protocol.Result {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; {
		r := probeWithin(t, f, target, m, 5*time.Second)
		if r.Up {
			return r
		}
		if time.Now().After(deadline) {
			t.Fatalf("down: %v", r.Reason)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func TestRealRedis(t *testing.T) {
	t.Parallel()
	server := program(t, "redis-server", "redis-server")
	p, dir := newPKI(t), openDir(t)
	plain, secure := port(t), port(t)
	start(t, "127.0.0.1:"+secure, exec.Command(server, "--port", plain, "--bind", "127.0.0.1", "--dir", dir, "--save", "",
		"--requirepass", "secret", "--tls-port", secure, "--tls-cert-file", p.cert, "--tls-key-file", p.key, "--tls-ca-cert-file", p.ca, "--tls-auth-clients", "no"))
	m := module()
	r := awaitUp(t, Redis, "127.0.0.1:"+plain, m)
	if got := sample(t, r, "probe_redis_authenticated"); got != 0 {
		t.Errorf("authenticated without a password: %v", got)
	}
	m.Login.Password = "wrong"
	wantDown(t, probe(t, Redis, "127.0.0.1:"+plain, m), protocol.Login, "WRONGPASS")
	m.Login = definition.Login{Password: "secret", TLS: true, TLSConfig: p.trusted()}
	r = probe(t, Redis, "127.0.0.1:"+secure, m)
	wantUp(t, r)
	sample(t, r, "probe_redis_info", "mode", "standalone", "role", "master")
	if got := sample(t, r, "probe_redis_used_memory_bytes"); got < 1000 {
		t.Errorf("%v bytes in use", got)
	}
	// A server of lines waits for the end of what it takes for one.
	wantDown(t, probeWithin(t, Redis, "127.0.0.1:"+plain, m, time.Second), protocol.TLSTimeout)
}

func TestRealSSH(t *testing.T) {
	t.Parallel()
	server, keygen := program(t, "openssh-server", "sshd"), program(t, "openssh-client", "ssh-keygen")
	dir, p := openDir(t), port(t)
	key := filepath.Join(dir, "host")
	run(t, exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key))
	if os.Geteuid() == 0 { // where its unprivileged half lives
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	conf := write(t, filepath.Join(dir, "conf"), "ListenAddress 127.0.0.1\nPort "+p+"\nHostKey "+key+"\nPidFile none\nUsePAM no\n")
	start(t, "127.0.0.1:"+p, exec.Command(server, "-D", "-e", "-f", conf))
	out, err := exec.Command(keygen, "-l", "-E", "sha256", "-f", key+".pub").Output()
	if err != nil {
		t.Fatal(err)
	}
	fingerprint := strings.Fields(string(out))[1]

	m := module()
	r := probe(t, SSH, "127.0.0.1:"+p, m)
	wantUp(t, r)
	sample(t, r, "probe_ssh_info", "key_type", "ssh-ed25519", "fingerprint_sha256", fingerprint)
	if !strings.HasPrefix(r.Response.Status, "SSH-2.0-OpenSSH") {
		t.Errorf("the banner is %q", r.Response.Status)
	}
	m.Login.HostKeys = []string{fingerprint}
	wantUp(t, probe(t, SSH, "127.0.0.1:"+p, m))
	m.Login.HostKeys = []string{"SHA256:another"}
	wantDown(t, probe(t, SSH, "127.0.0.1:"+p, m), protocol.Answer, fingerprint, "SHA256:another")
	m.Login = definition.Login{User: "nobody", Password: "wrong"}
	wantDown(t, probe(t, SSH, "127.0.0.1:"+p, m), protocol.Login, "nobody")
}

func TestRealChrony(t *testing.T) {
	t.Parallel()
	server := program(t, "chrony", "chronyd")
	dir, p := openDir(t), port(t)
	conf := write(t, filepath.Join(dir, "conf"), fmt.Sprintf("port %s\nbindaddress 127.0.0.1\nallow 127.0.0.1\nlocal stratum 3\ncmdport 0\nbindcmdaddress /\npidfile %s/pid\n", p, dir))
	cmd := exec.Command(server, "-x", "-d", "-u", "root", "-f", conf)
	start(t, "", cmd)
	m := module()
	r := awaitUp(t, NTP, "127.0.0.1:"+p, m)
	if got := sample(t, r, "probe_ntp_stratum"); got != 3 {
		t.Errorf("stratum %v, want 3", got)
	}
	// Both clocks are this machine's.
	if got := sample(t, r, "probe_ntp_offset_seconds"); got < -1 || got > 1 {
		t.Errorf("the same clock differs by %v s", got)
	}
	m.NTP.MaxStratum = 2
	wantDown(t, probe(t, NTP, "127.0.0.1:"+p, m), protocol.Answer, "the stratum is 3, want at most 2")
}

func TestRealPostgres(t *testing.T) {
	t.Parallel()
	initdb, server := program(t, "postgresql", "initdb"), program(t, "postgresql", "postgres")
	p, dir, at := newPKI(t), openDir(t), port(t)
	data := filepath.Join(dir, "data")
	password := write(t, filepath.Join(dir, "password"), "secret\n")
	cmd := as(t, "postgres", dir, exec.Command(initdb, "-D", data, "-A", "scram-sha-256", "-U", "prober", "--pwfile", password, "--no-sync"))
	run(t, cmd)
	key := p.copyKey(t, dir)
	cmd = as(t, "postgres", dir, exec.Command(server, "-D", data, "-p", at, "-h", "127.0.0.1", "-k", "", "-c", "fsync=off",
		"-c", "ssl=on", "-c", "ssl_cert_file="+p.cert, "-c", "ssl_key_file="+key))
	start(t, "127.0.0.1:"+at, cmd)

	m := module()
	m.Login.TLSConfig = p.trusted()
	r := awaitUp(t, Postgres, "127.0.0.1:"+at, m)
	sample(t, r, "probe_postgres_info", "authentication", "scram-sha-256")
	m.Login.User, m.Login.Password = "prober", "secret"
	awaitUp(t, Postgres, "127.0.0.1:"+at, m) // it tells how one logs in before anybody may
	m.Login.TLS = true
	r = probe(t, Postgres, "127.0.0.1:"+at, m)
	wantUp(t, r)
	if r.Phases[protocol.TLS] == 0 {
		t.Error("TLS took no time")
	}
	if v := versionOf(r, "probe_postgres_info"); !strings.Contains(v, ".") {
		t.Errorf("the version is %q", v)
	}
	m.Login.Password = "wrong"
	wantDown(t, probe(t, Postgres, "127.0.0.1:"+at, m), protocol.Login, "password authentication failed", "28P01")
	m.Login.Password, m.Login.Database = "secret", "nowhere"
	wantDown(t, probe(t, Postgres, "127.0.0.1:"+at, m), protocol.Status, `database \"nowhere\" does not exist`)

	m = module()
	m.Certificate.StartTLS, m.Certificate.TLSConfig = "postgres", p.trusted()
	r = probe(t, TLS, "127.0.0.1:"+at, m)
	wantUp(t, r)
	if len(r.Chain.Sent) == 0 || r.Chain.Sent[0].Subject.CommonName != "localhost" {
		t.Errorf("the chain is %+v", r.Chain)
	}
}

func versionOf(r *protocol.Result, name string) string {
	for _, s := range r.Samples {
		if s.Name == name {
			return labelOf(s, "version")
		}
	}
	return ""
}

func TestRealMariaDB(t *testing.T) {
	t.Parallel()
	install, server := program(t, "mariadb-server", "mariadb-install-db"), program(t, "mariadb-server", "mariadbd")
	p, dir, at := newPKI(t), openDir(t), port(t)
	data := filepath.Join(dir, "data")
	run(t, exec.Command(install, "--no-defaults", "--user=mysql", "--datadir="+data, "--skip-test-db", "--auth-root-authentication-method=normal"))
	first := write(t, filepath.Join(dir, "first.sql"),
		"CREATE USER prober@'%' IDENTIFIED BY 'secret';\nCREATE DATABASE shop;\nGRANT ALL ON shop.* TO prober@'%';\n")
	if err := os.Chmod(p.key, 0o644); err != nil {
		t.Fatal(err)
	}
	start(t, "127.0.0.1:"+at, as(t, "mysql", dir, exec.Command(server, "--no-defaults", "--datadir="+data, "--port="+at, "--bind-address=127.0.0.1",
		"--socket="+filepath.Join(dir, "s"), "--pid-file="+filepath.Join(dir, "pid"), "--init-file="+first, "--max-connect-errors=3",
		"--ssl-cert="+p.cert, "--ssl-key="+p.key, "--ssl-ca="+p.ca)))

	m := module()
	awaitUp(t, MySQL, "127.0.0.1:"+at, m)
	// Handshakes that are broken off would block this host after three.
	for range 8 {
		r := probe(t, MySQL, "127.0.0.1:"+at, m)
		wantUp(t, r)
		sample(t, r, "probe_mysql_info", "plugin", "mysql_native_password")
		if v := versionOf(r, "probe_mysql_info"); !strings.Contains(v, "MariaDB") {
			t.Errorf("the version is %q", v)
		}
	}
	m.Login = definition.Login{User: "prober", Password: "secret", Database: "shop"}
	wantUp(t, probe(t, MySQL, "127.0.0.1:"+at, m))
	m.Login.Database = "mysql"
	wantDown(t, probe(t, MySQL, "127.0.0.1:"+at, m), protocol.Status, "denied")
	m.Login.Password = "wrong"
	wantDown(t, probe(t, MySQL, "127.0.0.1:"+at, m), protocol.Login, "Access denied")
	m.Login = definition.Login{User: "prober", Password: "secret", TLS: true, TLSConfig: p.trusted()}
	r := probe(t, MySQL, "127.0.0.1:"+at, m)
	wantUp(t, r)
	if r.Phases[protocol.TLS] == 0 {
		t.Error("TLS took no time")
	}
	m = module()
	m.Certificate.StartTLS, m.Certificate.TLSConfig = "mysql", p.trusted()
	wantUp(t, probe(t, TLS, "127.0.0.1:"+at, m))
}

func TestRealPostfix(t *testing.T) {
	t.Parallel()
	master := program(t, "postfix", "master")
	postfix := program(t, "postfix", "postfix")
	if os.Geteuid() != 0 {
		t.Skip("postfix starts as root only")
	}
	p, dir, at := newPKI(t), openDir(t), port(t)
	conf := filepath.Join(dir, "conf")
	for _, d := range []string{conf, filepath.Join(dir, "queue"), filepath.Join(dir, "data")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	run(t, exec.Command("chown", "postfix", filepath.Join(dir, "data")))
	write(t, filepath.Join(conf, "main.cf"), fmt.Sprintf(`compatibility_level = 3.6
queue_directory = %[1]s/queue
data_directory = %[1]s/data
myhostname = mail.example.com
mydestination =
inet_protocols = ipv4
inet_interfaces = 127.0.0.1
smtpd_tls_cert_file = %[2]s
smtpd_tls_key_file = %[3]s
smtpd_tls_security_level = may
smtpd_helo_required = yes
smtpd_helo_restrictions = check_helo_access static:OK
maillog_file = /dev/stdout
maillog_file_prefixes = /dev, %[1]s
`, dir, p.cert, p.copyKey(t, dir)))
	write(t, filepath.Join(conf, "master.cf"), "127.0.0.1:"+at+` inet n - n - - smtpd
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
rewrite unix - - n - - trivial-rewrite
tlsmgr unix - - n 1000? 1 tlsmgr
anvil unix - - n - 1 anvil
proxymap unix - - n - - proxymap
`)
	run(t, exec.Command(postfix, "-c", conf, "check"))
	start(t, "127.0.0.1:"+at, exec.Command(master, "-c", conf, "-d"))

	m := module()
	m.Mail.TLSConfig = p.trusted()
	r := awaitUp(t, SMTP, "127.0.0.1:"+at, m)
	if !strings.HasPrefix(r.Response.Status, "220 mail.example.com") {
		t.Errorf("the greeting is %q", r.Response.Status)
	}
	if sample(t, r, "probe_smtp_starttls") != 1 || sample(t, r, "probe_smtp_size_limit_bytes") < 1e6 {
		t.Errorf("the samples are %v", r.Samples)
	}
	if r.Chain == nil || r.Phases[protocol.TLS] == 0 {
		t.Errorf("no TLS: %+v", r)
	}
	m.Mail.TLS = "implicit"
	wantDown(t, probe(t, SMTP, "127.0.0.1:"+at, m), protocol.TLSMissing)
	m.Certificate.StartTLS, m.Certificate.TLSConfig = "smtp", p.trusted()
	wantUp(t, probe(t, TLS, "127.0.0.1:"+at, m))
}

func TestRealDovecot(t *testing.T) {
	t.Parallel()
	server := program(t, "dovecot-imapd dovecot-pop3d", "dovecot")
	if os.Geteuid() != 0 {
		t.Skip("dovecot starts as root only")
	}
	p, dir := newPKI(t), openDir(t)
	imap, imaps, pop, pops := port(t), port(t), port(t), port(t)
	conf := write(t, filepath.Join(dir, "conf"), fmt.Sprintf(`base_dir = %[1]s/run
state_dir = %[1]s/state
log_path = /dev/stderr
protocols = imap pop3
listen = 127.0.0.1
ssl = yes
ssl_cert = <%[2]s
ssl_key = <%[3]s
default_login_user = dovenull
default_internal_user = dovecot
mail_location = maildir:%[1]s/mail
passdb {
  driver = static
  args = password=secret
}
userdb {
  driver = static
  args = uid=65534 gid=65534 home=%[1]s
}
service imap-login {
  inet_listener imap {
    port = %[4]s
  }
  inet_listener imaps {
    port = %[5]s
    ssl = yes
  }
}
service pop3-login {
  inet_listener pop3 {
    port = %[6]s
  }
  inet_listener pop3s {
    port = %[7]s
    ssl = yes
  }
}
`, dir, p.cert, p.key, imap, imaps, pop, pops))
	start(t, "127.0.0.1:"+pops, exec.Command(server, "-F", "-c", conf))
	for _, tc := range []struct {
		prober     protocol.Func
		name       string
		tls, plain string
	}{{IMAP, "imap", imaps, imap}, {POP3, "pop3", pops, pop}} {
		m := module()
		m.Mail.TLSConfig = p.trusted()
		r := awaitUp(t, tc.prober, "127.0.0.1:"+tc.plain, m)
		if sample(t, r, "probe_"+tc.name+"_starttls") != 1 || r.Phases[protocol.TLS] == 0 {
			t.Errorf("%s: %+v", tc.name, r)
		}
		if !strings.Contains(r.Response.Status, "OK") {
			t.Errorf("%s: the greeting is %q", tc.name, r.Response.Status)
		}
		m.Mail.TLS = "implicit"
		wantUp(t, probe(t, tc.prober, "127.0.0.1:"+tc.tls, m))
		m.Mail.TLS = "none"
		wantUp(t, probe(t, tc.prober, "127.0.0.1:"+tc.plain, m))
		m.Certificate.StartTLS, m.Certificate.TLSConfig = tc.name, p.trusted()
		wantUp(t, probe(t, TLS, net.JoinHostPort("127.0.0.1", tc.plain), m))
	}
}

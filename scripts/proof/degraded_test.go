//go:build machine

package proof

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// databaseAway waits until the page is served and says in plain words that the
// database is what is missing, while live values come.
func (b *bed) databaseAway() {
	b.t.Helper()
	eventually(b.t, 30*time.Second, func() error {
		var s systemStatus
		if err := b.get("/api/system/status", &s); err != nil {
			return err
		}
		for _, r := range s.Reasons {
			if r.Code == "database-unreachable" && r.Message == "the database cannot be reached" && s.Status == "CRITICAL" {
				return nil
			}
		}
		return fmt.Errorf("%+v", s)
	})
	eventually(b.t, 30*time.Second, func() error { return b.get("/api/metrics/live", new(sample)) })
}

// Proves PKG-1: a database that cannot start keeps nobody from installing, and
// the page says so. When it can, everything is well by itself.
func TestInstallWithoutADatabaseSucceedsAndSaysSo(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-nodb")
	b.putDeb(deb(t), shipped)
	b.sh("mv /usr/lib/postgresql /usr/lib/postgresql.away")
	began := time.Now()
	b.apt("install", shipped)
	t.Logf("figure: installed in %s without a database", time.Since(began).Round(100*time.Millisecond))
	if !b.installed() {
		t.Fatal("not installed")
	}
	b.databaseAway()

	// PostgreSQL is tried every 2 s.
	b.sh("mv /usr/lib/postgresql.away /usr/lib/postgresql")
	back := time.Now()
	b.allWell()
	t.Logf("figure: all was well %s after the database could start", time.Since(back).Round(100*time.Millisecond))
	b.aSampleOrTwo()
}

// Proves PKG-1: the same when an operator wants no database of ours.
func TestInstallWithAMaskedDatabaseSucceedsAndSaysSo(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-masked")
	b.putDeb(deb(t), shipped)
	b.run("systemctl", "mask", postgresUnit)
	b.apt("install", shipped)
	b.databaseAway()
	b.run("systemctl", "unmask", postgresUnit)
	b.run("systemctl", "start", postgresUnit)
	b.allWell()
}

// Proves PKG-1: in an image that is being built no systemd runs; installing
// starts nothing and enables everything.
func TestInstallInAChrootSucceedsAndEnablesEverything(t *testing.T) {
	beside(t)
	b := up(t, "machine", "t-chroot")
	b.putDeb(deb(t), shipped)
	out := b.sh(`unshare --mount sh -euc '
		mount -t tmpfs tmpfs /mnt
		mkdir /mnt/upper /mnt/work /mnt/root
		mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
		mount -t proc proc /mnt/root/proc
		mount --bind /dev /mnt/root/dev
		cp ` + shipped + ` /mnt/root/tmp/
		export DEBIAN_FRONTEND=noninteractive
		chroot /mnt/root apt-get install --yes --quiet -o Dpkg::Use-Pty=0 ` + shipped + ` 2>&1
		chroot /mnt/root dpkg-query --show --showformat "state \${db:Status-Status}\n" arasul
		chroot /mnt/root systemctl is-enabled arasul.target ` + strings.Join(daemons, " ") + `
		chroot /mnt/root stat --format "%U %a %n" /var/lib/arasul /run/arasul
		chroot /mnt/root id arasul-metrics
	'`)
	for _, want := range []string{"state installed", "root 755 /var/lib/arasul", "(arasul-metrics)"} {
		if !strings.Contains(out, want) {
			t.Errorf("want %q", want)
		}
	}
	if n := strings.Count(out, "\nenabled"); n != 1+len(daemons) {
		t.Errorf("%d units are enabled, want %d", n, 1+len(daemons))
	}
	if running := b.sh("ps -eo args= | grep [/]usr/lib/arasul || true"); running != "" {
		t.Errorf("running:\n%s", running)
	}
	if t.Failed() {
		t.Log(out)
	}
}

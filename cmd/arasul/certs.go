package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/arasul/arasul/pkg/api"
	"github.com/arasul/arasul/pkg/certs"
	"github.com/arasul/arasul/pkg/config"
	"github.com/arasul/arasul/pkg/mdns"
	"github.com/arasul/arasul/pkg/proxy"
)

var (
	certificateStore = certs.Store{CA: "/var/lib/arasul/ca", Public: "/var/lib/arasul/tls"}
	certificateFiles = proxy.Files{
		Own:   "/etc/arasul/tls",
		ACME:  acmeFolder,
		Local: "/var/lib/arasul/tls/local",
		CA:    "/var/lib/arasul/tls/ca.crt",
	}
)

// certificates are the steps of arasul-certs.service, and what the command line
// says of their results.
type certificates struct{}

// Issue makes what is due. Root hands over to the user whose files they are.
func (certificates) Issue(cfg *config.Config, sure bool, force certs.Force) (certs.Issued, error) {
	addrs, err := addresses()
	if err != nil {
		return certs.Issued{}, fmt.Errorf("listing addresses: %w", err)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return certs.Issued{}, fmt.Errorf("asking for the host name: %w", err)
	}
	w := certs.Want(labels(cfg), hostname, cfg.Proxy.Hosts, addrs)
	return certificateStore.Issue(w, hostname, sure, time.Now(), force)
}

// AsSigner runs this command again as the user arasul-certs, when root asked: a
// file of root's would be one that the proxy cannot read.
func (certificates) AsSigner() (code int, done bool, err error) {
	if os.Getuid() != 0 {
		return 0, false, nil
	}
	signer, err := user.Lookup("arasul-certs")
	if err != nil {
		return 0, false, err
	}
	reader, err := user.LookupGroup("arasul-proxy")
	if err != nil {
		return 0, false, err
	}
	uid, errUID := strconv.ParseUint(signer.Uid, 10, 32)
	gid, errGID := strconv.ParseUint(reader.Gid, 10, 32)
	if err := cmp.Or(errUID, errGID); err != nil {
		return 0, false, err
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:gosec // this program again, with what root typed
	cmd.Args[0] = "arasul"
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), true, nil
	}
	return 0, true, err
}

// Show says what visitors get.
func (certificates) Show(host string) api.Certificates {
	return certificateFiles.Certificates(host, time.Now())
}

// CA is the certificate of our authority, in PEM.
func (certificates) CA() ([]byte, error) { return os.ReadFile(certificateFiles.CA) }

// labels are what the machine is announced as: what arasul-mdns says, or what is
// configured until it says so.
func labels(cfg *config.Config) []string {
	list := []string{cfg.MDNS.Name, mdns.S3(cfg.MDNS.Name)}
	said, err := os.ReadFile(announcedFile)
	if err != nil || len(said) > 1024 {
		return list
	}
	return append(list, strings.Fields(string(said))...)
}

// addresses are those of the machine that somebody could use.
func addresses() ([]netip.Addr, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, i := range ifaces {
		if i.Flags&net.FlagUp == 0 || mdns.Hidden(i.Name) {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue // gone since it was listed
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				if addr, ok := netip.AddrFromSlice(n.IP); ok {
					list = append(list, addr.Unmap())
				}
			}
		}
	}
	return list, nil
}

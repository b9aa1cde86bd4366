package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

func parse(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("no PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func TestSecondRunChangesNothing(t *testing.T) {
	s := newShelf(t)
	first := s.issue(box(), now, IfDue)
	if first.Root != "there was none" || first.Leaf != "there was none" {
		t.Errorf("first run: %+v", first)
	}
	before := s.leafCert()
	second := s.issue(box(), now.Add(time.Hour), IfDue)
	if second.Root != "" || second.Leaf != "" || !s.leafCert().Equal(before) || second.Fingerprint != first.Fingerprint {
		t.Errorf("second run: %+v", second)
	}
}

func TestCertificateFollows(t *testing.T) {
	other := box()
	other.Addresses = addrs("10.9.8.7")
	renamed := box()
	renamed.Names = append(slices.Clone(renamed.Names), "workshop.local")
	year2030 := time.Date(2030, 6, 1, 0, 0, 0, 0, time.UTC)
	epoch := time.Unix(100, 0)
	tests := []struct {
		name       string
		madeAt     time.Time
		w          Wanted
		at         time.Time
		root, leaf string
	}{
		{"nothing, for sixty days", now, box(), now.Add(58 * day), "", ""},
		{"its life", now, box(), now.Add(60 * day), "", "two thirds of its life are over"},
		{"its end while the machine was off", now, box(), now.Add(400 * day), "", "two thirds of its life are over"},
		{"addresses", now, other, now, "", "addresses changed"},
		{"names", now, renamed, now, "", "names changed"},
		{"a clock that came true, forward", epoch, box(), now, "", "it was made while the clock was wrong"},
		{"a clock that came true, backward", year2030, box(), now, "the root is from the future: a clock was wrong", "it was not valid yet: a clock was wrong"},
		{"no clock that fell to 1970", now, box(), epoch, "", ""},
		{"addresses, although the clock fell to 1970", now, other, epoch, "", "addresses changed"},
		{"the root's end", now, box(), now.Add(9*365*day + 10*day), "the root comes to its end", "two thirds of its life are over"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			s.issue(box(), tt.madeAt, IfDue)
			firstRoot := s.rootCert()
			did := s.issue(tt.w, tt.at, IfDue)
			if did.Root != tt.root || did.Leaf != tt.leaf {
				t.Errorf("root %q, leaf %q; want %q and %q", did.Root, did.Leaf, tt.root, tt.leaf)
			}
			// Devices keep what they trusted at first.
			if err := s.leafCert().CheckSignatureFrom(firstRoot); err != nil {
				t.Errorf("the first root no longer holds: %v", err)
			}
			at := tt.at
			if at.Before(written) {
				at = now.Add(12 * time.Hour) // what visitors' clocks say
			}
			if err := trusts(s.rootCert(), s.leafCert(), "arasul.local", at); err != nil {
				t.Error(err)
			}
			if again := s.issue(tt.w, tt.at, IfDue); again.Root != "" || again.Leaf != "" {
				t.Errorf("the run after that: %+v", again)
			}
		})
	}
}

func TestMachineWithoutAClockIsTrustedByThoseWhoHaveOne(t *testing.T) {
	s := newShelf(t)
	s.issue(box(), time.Unix(100, 0), IfDue)
	leaf := s.leafCert()
	for _, at := range []time.Time{written, now, written.AddDate(2, 0, 0)} {
		if err := trusts(s.rootCert(), leaf, "arasul.local", at); err != nil {
			t.Errorf("at %s: %v", at, err)
		}
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life > 825*day {
		t.Errorf("it lives %s, more than devices accept", life)
	}
}

func TestRootIsMadeAgainWithTheSameKeyAndAnewOnlyWhenAsked(t *testing.T) {
	s := newShelf(t)
	s.issue(box(), now, IfDue)
	first := s.rootCert()
	s.issue(box(), now.AddDate(9, 6, 0), IfDue)
	second := s.rootCert()
	if second.Equal(first) || !bytes.Equal(second.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) || !bytes.Equal(second.RawSubject, first.RawSubject) {
		t.Error("the second root is not the first one with a longer life")
	}
	did := s.issue(box(), now.AddDate(9, 6, 0), Root)
	if third := s.rootCert(); bytes.Equal(third.RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
		t.Error("a new root was asked for, and has the old key")
	}
	if did.Leaf != "the root is new" {
		t.Errorf("leaf: %q", did.Leaf)
	}
	if did := s.issue(box(), now.AddDate(9, 6, 0), Leaf); did.Leaf != "it was asked for" || did.Root != "" {
		t.Errorf("asked for a leaf: %+v", did)
	}
}

func TestNamesTheRootDoesNotKnowAreLeftOut(t *testing.T) {
	s := newShelf(t)
	s.issue(box(), now, IfDue)
	w := Want([]string{"arasul"}, "werkstatt", []string{"new.example.org"}, nil)
	did := s.issue(w, now, IfDue)
	if !slices.Equal(did.LeftOut, []string{"new.example.org"}) || slices.Contains(did.Names, "new.example.org") {
		t.Errorf("%+v", did)
	}
	did = s.issue(w, now, Root)
	if len(did.LeftOut) > 0 || !slices.Contains(did.Names, "new.example.org") {
		t.Errorf("with a new root: %+v", did)
	}
}

func TestNamesStayWhileTheConfigurationIsBroken(t *testing.T) {
	s := newShelf(t)
	s.issue(box(), now, IfDue)
	did, err := s.Issue(Want([]string{"arasul", "arasul-s3"}, "werkstatt", nil, box().Addresses), "werkstatt", false, now, IfDue)
	if err != nil {
		t.Fatal(err)
	}
	if did.Leaf != "" || !slices.Contains(did.Names, "ki.example.com") {
		t.Errorf("%+v", did)
	}
}

// Each row is what a power cut, a full disk or an administrator leaves.
func TestBrokenFilesAreReplaced(t *testing.T) {
	tests := []struct {
		name         string
		harm         func(s shelf) error
		sameKey      bool
		root, leaf   string
		brokenIsKept bool
	}{
		{"leaf.crt empty", func(s shelf) error { return os.Truncate(filepath.Join(s.Public, "local", "leaf.crt"), 0) }, true, "", "there was none", false},
		{"leaf.key missing", func(s shelf) error { return os.Remove(filepath.Join(s.Public, "local", "leaf.key")) }, true, "", "there was none", false},
		{"leaf.key of another", func(s shelf) error {
			return os.Rename(filepath.Join(s.CA, "ca.key.copy"), filepath.Join(s.Public, "local", "leaf.key"))
		}, true, "", "there was none", false},
		{"public root missing", func(s shelf) error { return os.Remove(filepath.Join(s.Public, "ca.crt")) }, true, "", "", false},
		{"root missing, key there", func(s shelf) error { return os.Remove(filepath.Join(s.CA, "ca.crt")) }, true, "", "", false},
		{"key missing", func(s shelf) error { return os.Remove(filepath.Join(s.CA, "ca.key")) }, false, "there was none", "the root is new", false},
		{"key empty", func(s shelf) error { return os.Truncate(filepath.Join(s.CA, "ca.key"), 0) }, false, "the old one was broken", "the root is new", true},
		{"everything public gone", func(s shelf) error {
			return errors.Join(os.RemoveAll(filepath.Join(s.Public, "local")), os.Remove(filepath.Join(s.Public, "ca.crt")))
		}, true, "", "there was none", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShelf(t)
			s.issue(box(), now, IfDue)
			before := s.rootCert()
			key, err := os.ReadFile(filepath.Join(s.CA, "ca.key"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(s.CA, "ca.key.copy"), key)
			if err := tt.harm(s); err != nil {
				t.Fatal(err)
			}
			did := s.issue(box(), now, IfDue)
			if did.Root != tt.root || did.Leaf != tt.leaf {
				t.Errorf("root %q, leaf %q; want %q and %q", did.Root, did.Leaf, tt.root, tt.leaf)
			}
			if same := bytes.Equal(s.rootCert().RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo); same != tt.sameKey {
				t.Errorf("the root kept its key: %v, want %v", same, tt.sameKey)
			}
			if exists(filepath.Join(s.CA, "ca.key.broken")) != tt.brokenIsKept {
				t.Errorf("ca.key.broken is kept: %v, want %v", !tt.brokenIsKept, tt.brokenIsKept)
			}
			if err := trusts(s.rootCert(), s.leafCert(), "arasul.local", now); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPlaceThatCannotBeWrittenIsAnError(t *testing.T) {
	s := Store{CA: filepath.Join(t.TempDir(), "none"), Public: t.TempDir()}
	if _, err := s.Issue(box(), "werkstatt", true, now, IfDue); err == nil || !strings.HasPrefix(err.Error(), "opening the root's place") {
		t.Errorf("got %v", err)
	}
}

func TestTwoAtOnceMakeOneRoot(t *testing.T) {
	s := newShelf(t)
	var wg sync.WaitGroup
	prints := make([]string, 8)
	for i := range prints {
		wg.Go(func() {
			did, err := s.Issue(box(), "werkstatt", true, now, IfDue)
			if err != nil {
				t.Error(err)
			}
			prints[i] = did.Fingerprint
		})
	}
	wg.Wait()
	if len(slices.Compact(prints)) != 1 {
		t.Errorf("roots %q", prints)
	}
}
